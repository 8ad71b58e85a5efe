package service

import (
	"context"
	"encoding/json"
	"strings"

	"portcullis.dev/portcullis/policy"
)

// kind is one kind of resource: how it is checked, read and written. The API
// and apply are written once over kinds.
type kind[T any] struct {
	name       string            // section of the state and path of the API
	permission policy.Permission // needed to change it
	keyFields  []string          // names of the parts of the key

	nodeMethods []string // what the key with which a node registers its tables may do with one entry
	key         func(*T) []string
	normalize   func(*T) error // fills defaults, checks; errors name the field
	public      func(T) T      // without what is read-only or secret, for comparing
	list        func(ctx context.Context, q querier, key []string) ([]T, error)
	put         func(ctx context.Context, c *change, v *T, old *T) error
	remove      func(ctx context.Context, c *change, v *T) error

	// verify, where there is one, looks at an entry when all of the change is made.
	verify func(ctx context.Context, c *change, v *T) error

	// annotate, where there is one, fills in what is worked out for readers.
	annotate func(ctx context.Context, q querier, list []T) error

	// state, where there is one, notes what a request states; asIs: as it is already.
	state func(c *change, v *T, asIs bool)

	// gone, where there is one, is what nothing may name once v is deleted.
	gone func(v *T) removed

	// settle, where there is one, forgets a stated secret that is in force already.
	settle func(ctx context.Context, c *change, v *T) error
}

func (k *kind[T]) keyText(v *T) string { return strings.Join(k.key(v), "/") }

// save creates or replaces one resource and reports whether anything differs.
func (k *kind[T]) save(ctx context.Context, c *change, v *T) (action string, err error) {
	if err := k.check(v); err != nil {
		return "", err
	}
	old, err := k.find(ctx, c, k.key(v))
	if err != nil {
		return "", err
	}
	return k.saveOver(ctx, c, v, old)
}

// saveOver is save of what was checked, in the place of old; nil: there is none.
func (k *kind[T]) saveOver(ctx context.Context, c *change, v, old *T) (action string, err error) {
	if old != nil && k.settle != nil {
		if err := k.settle(ctx, c, v); err != nil {
			return "", err
		}
	}
	if k.verify != nil {
		stated := *v
		c.afterwards(func(ctx context.Context) error { return k.verify(ctx, c, &stated) })
	}
	asIs := old != nil && k.same(old, v)
	if k.state != nil {
		stated := *v
		k.state(c, &stated, asIs)
	}
	action = "create"
	var before any
	if old != nil {
		if asIs {
			return "", nil
		}
		action, before = "update", k.public(*old)
	}
	if err := k.put(ctx, c, v, old); err != nil {
		return "", constraint(k.keyFields[0], err)
	}
	return action, c.record(ctx, action, k.name, k.keyText(v), before, k.public(*v))
}

// check fills defaults and reports the first field that is wrong.
func (k *kind[T]) check(v *T) error {
	if err := checkStrings(v); err != nil {
		return err
	}
	return k.normalize(v)
}

// same compares what a request can state; a secret that is still stated differs.
func (k *kind[T]) same(a, b *T) bool {
	x, err1 := json.Marshal(k.public(*a))
	y, err2 := json.Marshal(k.public(*b))
	return err1 == nil && err2 == nil && string(x) == string(y) && !hasSecret(b)
}

// hasSecret tells whether a resource states a new secret.
func hasSecret(v any) bool {
	switch r := v.(type) {
	case *Source:
		return r.Password != nil
	case *Account:
		return r.Password != nil
	case *Connection:
		return r.Password != nil || r.Setup != nil
	}
	return false
}

func (k *kind[T]) find(ctx context.Context, q querier, key []string) (*T, error) {
	list, err := k.list(ctx, q, key)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// read finds one for a reader, nil: there is none.
func (k *kind[T]) read(ctx context.Context, q querier, key []string) (*T, error) {
	list, err := k.list(ctx, q, key)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	if k.annotate != nil {
		err = k.annotate(ctx, q, list[:1])
	}
	return &list[0], err
}

func (k *kind[T]) delete(ctx context.Context, c *change, key []string) error {
	old, err := k.find(ctx, c, key)
	if err != nil {
		return err
	}
	if old == nil {
		return notFound(k.name, strings.Join(key, "/"))
	}
	return k.drop(ctx, c, old)
}

// drop deletes what was found.
func (k *kind[T]) drop(ctx context.Context, c *change, old *T) error {
	if err := k.remove(ctx, c, old); err != nil {
		return constraint(k.keyFields[0], err)
	}
	if k.gone != nil {
		g := k.gone(old)
		g.kind, g.key = k.name, k.keyText(old)
		c.gone = append(c.gone, g)
	}
	return c.record(ctx, "delete", k.name, k.keyText(old), k.public(*old), nil)
}

// part returns key[i] for a query parameter that is NULL when everything is wanted.
func part(key []string, i int) *string {
	if key == nil {
		return nil
	}
	return &key[i]
}
