package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"portcullis.dev/portcullis/policy"
)

// Difference is one thing that apply changed or would change.
type Difference struct {
	Action string          `json:"action"` // create, update, delete
	Object string          `json:"object"` // section
	Key    string          `json:"key"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	Secret bool            `json:"secret,omitempty"` // a password changes
}

// ApplyReply says what happened.
type ApplyReply struct {
	DryRun      bool         `json:"dry_run"`
	Version     int64        `json:"version"` // policy version in force afterwards
	Differences []Difference `json:"differences"`
	// Reached says what came up at instances that were registered, or are reached otherwise now.
	Reached []ReachedConnection `json:"reached,omitempty"`
	Waiting []WaitingObject     `json:"waiting,omitempty"` // settings of objects that were not seen yet
	Remarks []Remark            `json:"remarks,omitempty"` // what policies name and nothing has
}

// section is one kind bound to the wanted list, without its type.
type section interface {
	permission() policy.Permission
	upsert(ctx context.Context, c *change, r *ApplyReply) error
	prune(ctx context.Context, c *change, r *ApplyReply) error
}

type wanted[T any] struct {
	kind *kind[T]
	list []T
}

func (w *wanted[T]) permission() policy.Permission { return w.kind.permission }

// readAll is from how many entries on all of a kind are read at once, in place of each by itself.
const readAll = 10

// finding returns what finds an entry by its key; nil: there is none.
func (w *wanted[T]) finding(ctx context.Context, c *change) (func(key []string) (*T, error), error) {
	if len(w.list) < readAll {
		return func(key []string) (*T, error) { return w.kind.find(ctx, c, key) }, nil
	}
	all, err := w.kind.list(ctx, c, nil)
	if err != nil {
		return nil, err
	}
	at := make(map[string]*T, len(all))
	for i := range all {
		at[strings.Join(w.kind.key(&all[i]), "\x00")] = &all[i]
	}
	return func(key []string) (*T, error) { return at[strings.Join(key, "\x00")], nil }, nil
}

// upsert creates and updates, telling duplicates.
func (w *wanted[T]) upsert(ctx context.Context, c *change, r *ApplyReply) error {
	find, err := w.finding(ctx, c)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for i := range w.list {
		v := &w.list[i]
		at := fmt.Sprintf("%s[%d]", w.kind.name, i)
		if err := w.kind.check(v); err != nil {
			return withPrefix(at, err)
		}
		key := w.kind.keyText(v)
		if seen[key] {
			return invalid(at+"."+w.kind.keyFields[0], "%s is listed twice", key)
		}
		seen[key] = true
		old, err := find(w.kind.key(v))
		if err != nil {
			return err
		}
		c.place = at
		action, err := w.kind.saveOver(ctx, c, v, old)
		c.place = ""
		if err != nil {
			return withPrefix(at, err)
		}
		if action == "" {
			continue
		}
		d := Difference{Action: action, Object: w.kind.name, Key: key, Secret: hasSecret(v), After: w.json(v)}
		if old != nil {
			d.Before = w.json(old)
		}
		r.Differences = append(r.Differences, d)
	}
	return nil
}

// prune deletes what is not wanted.
func (w *wanted[T]) prune(ctx context.Context, c *change, r *ApplyReply) error {
	keep := map[string]bool{}
	for i := range w.list {
		keep[w.kind.keyText(&w.list[i])] = true
	}
	all, err := w.kind.list(ctx, c, nil)
	if err != nil {
		return err
	}
	for i := range all {
		v := &all[i]
		if keep[w.kind.keyText(v)] {
			continue
		}
		if err := w.kind.drop(ctx, c, v); err != nil {
			var e *Error
			if errors.As(err, &e) {
				refused := conflict(w.kind.name, "%s cannot be deleted: %s", w.kind.keyText(v), e.Message)
				refused.Hint = e.Hint
				return refused
			}
			return err
		}
		r.Differences = append(r.Differences, Difference{Action: "delete", Object: w.kind.name, Key: w.kind.keyText(v), Before: w.json(v)})
	}
	return nil
}

func (w *wanted[T]) json(v *T) json.RawMessage {
	raw, err := json.Marshal(w.kind.public(*v))
	if err != nil {
		return nil
	}
	return raw
}

func sectionOf[T any](k *kind[T], list *[]T) []section {
	if list == nil {
		return nil
	}
	return []section{&wanted[T]{kind: k, list: *list}}
}

// sections lists what the state names, in the order in which things depend on each other.
func (s *Store) sections(state State) []section {
	var all []section
	all = append(all, sectionOf(groupKind(), state.Groups)...)
	all = append(all, sectionOf(personKind(), state.People)...)
	all = append(all, sectionOf(sourceKind(), state.Sources)...)
	all = append(all, sectionOf(dataSourceKind(), state.DataSources)...)
	all = append(all, sectionOf(connectionKind(), state.Connections)...)
	all = append(all, sectionOf(objectSettingsKind(), state.ConnectionObjects)...)
	all = append(all, sectionOf(mappedAccountKind(), state.ConnectionAccounts)...)
	all = append(all, sectionOf(queryAuditKind(), state.ConnectionQueryAudits)...)
	all = append(all, sectionOf(policyKind(), state.Policies)...)
	all = append(all, sectionOf(subscriptionKind(), state.Subscriptions)...)
	return append(all, sectionOf(s.accountKind(), state.Accounts)...)
}

// Apply makes the sections that the state names equal to it, in one
// transaction: all or nothing. With dryRun it only says what would change.
func (s *Store) Apply(ctx context.Context, actor string, state State, dryRun bool) (ApplyReply, error) {
	reply := ApplyReply{DryRun: dryRun, Differences: []Difference{}}
	sections := s.sections(state)
	_, err := s.Change(ctx, actor, func(c *change) error {
		for _, sec := range sections {
			if err := sec.upsert(ctx, c, &reply); err != nil {
				return err
			}
		}
		for i := len(sections) - 1; i >= 0; i-- {
			if err := sections[i].prune(ctx, c, &reply); err != nil {
				return err
			}
		}
		if err := c.settle(ctx); err != nil {
			return err
		}
		if state.ConnectionObjects != nil {
			var err error
			if reply.Waiting, err = waitingObjects(ctx, c, "", ""); err != nil {
				return err
			}
		}
		reply.Remarks = c.remarks
		if dryRun || len(reply.Differences) == 0 {
			return errDryRun
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return ApplyReply{}, err
	}
	reply.Version, err = s.Version(ctx)
	return reply, err
}

// Permissions names what a caller needs to apply the state.
func (s *Store) permissionsFor(state State) []policy.Permission {
	var needed []policy.Permission
	for _, sec := range s.sections(state) {
		needed = append(needed, sec.permission())
	}
	return sortedSet(needed)
}

// State reads everything, without secrets.
func (s *Store) State(ctx context.Context) (State, error) {
	var st State
	var err error
	st.Groups, err = listAll(ctx, s, groupKind(), err)
	st.People, err = listAll(ctx, s, personKind(), err)
	st.Sources, err = listAll(ctx, s, sourceKind(), err)
	st.DataSources, err = listAll(ctx, s, dataSourceKind(), err)
	st.Policies, err = listAll(ctx, s, policyKind(), err)
	st.Subscriptions, err = listAll(ctx, s, subscriptionKind(), err)
	st.Accounts, err = listAll(ctx, s, s.accountKind(), err)
	st.Connections, err = listAll(ctx, s, connectionKind(), err)
	st.ConnectionObjects, err = listAll(ctx, s, objectSettingsKind(), err)
	st.ConnectionAccounts, err = listAll(ctx, s, mappedAccountKind(), err)
	st.ConnectionQueryAudits, err = listAll(ctx, s, queryAuditKind(), err)
	return st, err
}

func listAll[T any](ctx context.Context, s *Store, k *kind[T], before error) (*[]T, error) {
	if before != nil {
		return nil, before
	}
	list, err := k.list(ctx, s.pool, nil)
	if err != nil {
		return nil, err
	}
	out := make([]T, 0, len(list))
	for _, v := range list {
		out = append(out, k.public(v))
	}
	return &out, nil
}
