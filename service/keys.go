package service

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/policy"
)

// TokenLife is how long a node's token holds.
const TokenLife = 5 * time.Minute

// APIKey is a key as listed; the key itself is shown once, when made.
type APIKey struct {
	ID          string              `json:"id"`
	Name        string              `json:"name"`
	Key         string              `json:"key,omitempty"`  // in the answer to its creation only
	Node        string              `json:"node,omitempty"` // fetches the node's tokens or, with SOURCE_ADMIN, registers its tables
	Permissions []policy.Permission `json:"permissions,omitempty"`
	Expires     *time.Time          `json:"expires,omitempty"`
	Created     time.Time           `json:"created"`
}

// secretText makes an unguessable text with a prefix that names its kind.
func secretText(prefix string) (text string, hash []byte, err error) {
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return "", nil, err
	}
	text = prefix + base64.RawURLEncoding.EncodeToString(raw)
	return text, hashSecret(text), nil
}

// hashSecret suffices for texts of 256 random bits.
func hashSecret(text string) []byte {
	h := sha256.Sum256([]byte(text))
	return h[:]
}

// CreateAPIKey makes a key for a node or with permissions. An older key of
// the same name stays valid unless replace is set.
func (s *Store) CreateAPIKey(ctx context.Context, actor string, k APIKey, replace bool) (APIKey, error) {
	if err := checkName("name", k.Name, 256); err != nil {
		return k, err
	}
	if err := checkText("node", k.Node, 256); err != nil {
		return k, err
	}
	for i, p := range k.Permissions {
		if !slices.Contains(policy.Permissions(), p) {
			return k, invalid(indexed("permissions", i), "unknown permission %q, known are %v", p, policy.Permissions())
		}
	}
	if err := checkKeyUse(k); err != nil {
		return k, err
	}
	text, hash, err := secretText("pk_")
	if err != nil {
		return k, err
	}
	k.ID = uuid.NewString()
	k.Permissions = sortedSet(k.Permissions)
	_, err = s.Change(ctx, actor, func(c *change) error {
		if replace {
			if _, err := c.Exec(ctx, "DELETE FROM portcullis.api_keys WHERE name = $1", k.Name); err != nil {
				return err
			}
		}
		permissions := k.Permissions
		if permissions == nil {
			permissions = []policy.Permission{}
		}
		err := c.QueryRow(ctx, `INSERT INTO portcullis.api_keys (id, name, key_hash, node, permissions, expires) VALUES ($1, $2, $3, nullif($4, ''), $5, $6) RETURNING created`,
			k.ID, k.Name, hash, k.Node, permissions, k.Expires).Scan(&k.Created)
		if err != nil {
			return constraint("name", err)
		}
		return c.record(ctx, "create", "api_keys", k.Name, nil, k)
	})
	k.Key = text
	return k, err
}

// checkKeyUse: what a node holds must not reach further than its own tables.
func checkKeyUse(k APIKey) error {
	switch {
	case k.Node == "" && len(k.Permissions) == 0:
		return invalid("node", "a key is for a node or has permissions")
	case k.Node == "":
		return nil
	}
	for i, p := range k.Permissions {
		if p != policy.PermissionSourceAdmin {
			return invalid(indexed("permissions", i), "a node's key may hold %s only, not %s", policy.PermissionSourceAdmin, p)
		}
	}
	return nil
}

// APIKeys lists the keys, without the keys themselves.
func (s *Store) APIKeys(ctx context.Context) ([]APIKey, error) {
	rows, err := s.pool.Query(ctx, `SELECT id::text, name, coalesce(node, ''), permissions, expires, created FROM portcullis.api_keys ORDER BY name`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanAPIKey)
}

func scanAPIKey(r pgx.CollectableRow) (k APIKey, err error) {
	var permissions []string
	err = r.Scan(&k.ID, &k.Name, &k.Node, &permissions, &k.Expires, &k.Created)
	for _, p := range permissions {
		k.Permissions = append(k.Permissions, policy.Permission(p))
	}
	return k, err
}

// DeleteAPIKey revokes a key and the tokens made of it.
func (s *Store) DeleteAPIKey(ctx context.Context, actor, name string) error {
	_, err := s.Change(ctx, actor, func(c *change) error {
		tag, err := c.Exec(ctx, "DELETE FROM portcullis.api_keys WHERE name = $1", name)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			e := notFound("api_keys", name)
			e.Field, e.Hint = "name", "portcullis apikey list shows the names of all keys."
			return e
		}
		return c.record(ctx, "delete", "api_keys", name, nil, nil)
	})
	return err
}

// keyOf finds a valid key by its text.
func (s *Store) keyOf(ctx context.Context, text string) (APIKey, error) {
	if !strings.HasPrefix(text, "pk_") {
		return APIKey{}, unauthorized("this is not an API key", "API keys begin with pk_.")
	}
	rows, err := s.pool.Query(ctx, `SELECT id::text, name, coalesce(node, ''), permissions, expires, created FROM portcullis.api_keys
		WHERE key_hash = $1 AND (expires IS NULL OR expires > now())`, hashSecret(text))
	if err != nil {
		return APIKey{}, err
	}
	k, err := pgx.CollectExactlyOneRow(rows, scanAPIKey)
	if errors.Is(err, pgx.ErrNoRows) {
		return k, unauthorized("the API key is unknown, revoked or expired", "Make one with: portcullis apikey create")
	}
	return k, err
}

// MakeToken exchanges a node's API key for a token.
func (s *Store) MakeToken(ctx context.Context, apiKey, node string, life time.Duration) (string, error) {
	if err := checkName("node", node, 256); err != nil {
		return "", err
	}
	k, err := s.keyOf(ctx, apiKey)
	if err != nil {
		return "", at("api_key", err)
	}
	if k.Node != node || len(k.Permissions) > 0 {
		return "", forbidden("node", "the API key %q is not for tokens of node %q", k.Name, node)
	}
	text, hash, err := secretText("pt_")
	if err != nil {
		return "", err
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "DELETE FROM portcullis.tokens WHERE expires < now() - interval '1 minute'"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO portcullis.nodes (name, last_seen) VALUES ($1, now()) ON CONFLICT (name) DO UPDATE SET last_seen = now()", node); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "INSERT INTO portcullis.tokens (token_hash, node, api_key, expires) VALUES ($1, $2, $3, now() + make_interval(secs => $4))",
			hash, node, k.ID, life.Seconds())
		return err
	})
	return text, err
}

// NodeOf returns the node that a token is bound to and when it ends.
func (s *Store) NodeOf(ctx context.Context, token string) (node string, expires time.Time, err error) {
	if !strings.HasPrefix(token, "pt_") {
		return "", expires, unauthorized("this is not a token of a node", "Exchange the API key at POST /v1/token.")
	}
	err = s.pool.QueryRow(ctx, `SELECT t.node, t.expires FROM portcullis.tokens t JOIN portcullis.api_keys k ON k.id = t.api_key
		WHERE t.token_hash = $1 AND t.expires > now() AND (k.expires IS NULL OR k.expires > now())`, hashSecret(token)).Scan(&node, &expires)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", expires, unauthorized("the token is unknown, revoked or expired", "Exchange the API key at POST /v1/token.")
	}
	return node, expires, err
}
