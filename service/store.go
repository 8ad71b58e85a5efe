package service

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"portcullis.dev/portcullis/internal/seal"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store keeps everything in the schema portcullis of one PostgreSQL
// database. Any number of services may share it.
type Store struct {
	pool *pgxpool.Pool
	key  *seal.Key
	log  *slog.Logger
	node string // default node of SQL accounts

	snapshots snapshotCache
}

// Open connects and brings the schema up to date. node is the engine that SQL
// accounts belong to when none is named.
func Open(ctx context.Context, databaseURL string, key *seal.Key, node string, log *slog.Logger) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	cfg.ConnConfig.RuntimeParams["application_name"] = "portcullis serve"
	cfg.ConnConfig.RuntimeParams["timezone"] = "UTC"
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open the service's database: %w", err)
	}
	s := &Store{pool: pool, key: key, log: log, node: node}
	if err := errors.Join(s.migrate(ctx), s.checkKey(ctx)); err != nil {
		pool.Close()
		return nil, err
	}
	return s, nil
}

// checkKey refuses a key file that does not open what is stored.
func (s *Store) checkKey(ctx context.Context) error {
	var sealed string
	err := s.pool.QueryRow(ctx, "SELECT sealed_hash_key FROM portcullis.data_sources LIMIT 1").Scan(&sealed)
	if err != nil {
		return nil // nothing sealed yet, or the migration has said why
	}
	if _, err := s.key.Unseal(sealed); err != nil {
		return fmt.Errorf("the service's key file does not belong to its database: %w", err)
	}
	return nil
}

// Close closes all connections.
func (s *Store) Close() { s.pool.Close() }

func (s *Store) migrate(ctx context.Context) error {
	if _, err := s.pool.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS portcullis"); err != nil && !isDuplicate(err) {
		return fmt.Errorf("make schema portcullis in the service's database: %w", err)
	}
	db := stdlib.OpenDBFromPool(s.pool)
	defer db.Close()
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
	if err != nil {
		return err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithTableName("portcullis.migrations"), goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate the service's database: %w", err)
	}
	return nil
}

// isDuplicate tells the race of two services that make the schema at once.
func isDuplicate(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "23505" || pg.Code == "42P06")
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// change is one transaction that changes something on behalf of actor.
type change struct {
	pgx.Tx
	store   *Store
	actor   string
	node    string // whose key asks for the change, "": no node's
	version int64

	place  string                        // in the state that is applied: people[3]
	checks []func(context.Context) error // at the end
	gone   []removed                     // what nothing may name at the end
	owners map[string]struct{}           // found to exist
	waits  map[string]struct{}           // connections with settings that wait since

	log     []logEntry // not written yet
	stated  []statedPolicy
	mapped  []statedAccount
	remarks []Remark
}

// mayChange refuses a node's key what was not registered with one of that node.
func (c *change) mayChange(name, registeredBy string) error {
	if c.node == "" || c.node == registeredBy {
		return nil
	}
	e := forbidden("name", "%q was not registered by node %q", name, c.node)
	e.Hint = "An administrator of the policy service changes it there, or gives an API key of theirs as argument api_key."
	return e
}

// errDryRun rolls a change back on purpose.
var errDryRun = errors.New("dry run")

// Change runs f in a transaction under the next policy version. Changes are
// serialised by the version's row lock, so versions are seen in order.
func (s *Store) Change(ctx context.Context, actor string, f func(*change) error) (version int64, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, "UPDATE portcullis.policy_version SET version = version + 1 RETURNING version").Scan(&version); err != nil {
			return err
		}
		c := &change{Tx: tx, store: s, actor: actor, version: version}
		if err := f(c); err != nil {
			return err
		}
		return c.settle(ctx)
	})
	return version, err
}

// logEntry is a line of the change log.
type logEntry struct {
	Action string          `json:"action"`
	Object string          `json:"object"`
	Key    string          `json:"key"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// logAtOnce bounds the lines that are written together.
const logAtOnce = 500

// record notes a line for the change log, which is written before the change ends.
func (c *change) record(ctx context.Context, action, object, key string, before, after any) error {
	b, err := logged(before)
	if err != nil {
		return err
	}
	a, err := logged(after)
	if err != nil {
		return err
	}
	if c.log = append(c.log, logEntry{action, object, key, b, a}); len(c.log) >= logAtOnce {
		return c.writeLog(ctx)
	}
	return nil
}

// writeLog writes what was recorded, in the order in which it was.
func (c *change) writeLog(ctx context.Context) error {
	if len(c.log) == 0 {
		return nil
	}
	_, err := c.Exec(ctx, `INSERT INTO portcullis.change_log (version, actor, action, object, key, before, after)
		SELECT $1, $2, l ->> 'action', l ->> 'object', l ->> 'key', l -> 'before', l -> 'after' FROM jsonb_array_elements($3::jsonb) WITH ORDINALITY AS e (l, n) ORDER BY n`,
		c.version, c.actor, c.log)
	c.log = c.log[:0]
	return err
}

func logged(v any) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	return json.Marshal(v)
}

// Version is the current policy version.
func (s *Store) Version(ctx context.Context) (int64, error) {
	var v int64
	err := s.pool.QueryRow(ctx, "SELECT version FROM portcullis.policy_version").Scan(&v)
	return v, err
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return s.pool.Ping(ctx)
}
