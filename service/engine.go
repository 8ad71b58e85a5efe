package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/seal"
)

// EngineConfig names the engine that the service keeps in step.
type EngineConfig struct {
	URL        string    // of the engine's database, as a superuser
	Node       string    // name of the node
	ServiceURL string    // where the node reaches this service
	NodeKey    *seal.Key // seals what is stored in the engine's catalogs; nil: the engine seals
	Registers  bool      // the engine's superusers may register its tables with this service
}

// Engine keeps one engine equal to the store: its configuration, SQL accounts
// and foreign tables. Replicas take turns by a lock in the store.
type Engine struct {
	cfg   EngineConfig
	store *Store
	log   *slog.Logger
	wake  chan struct{}

	mu    sync.Mutex
	state string
}

// resyncEvery bounds how long a difference that nobody announced may last.
const resyncEvery = 30 * time.Second

// NewEngine makes an Engine; Run does the work.
func NewEngine(store *Store, cfg EngineConfig, log *slog.Logger) *Engine {
	return &Engine{cfg: cfg, store: store, log: log, wake: make(chan struct{}, 1), state: "not yet reached"}
}

// Wake asks for a round soon.
func (e *Engine) Wake() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// State says how the last round went.
func (e *Engine) State() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state
}

func (e *Engine) setState(text string) (changed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	changed = e.state != text
	e.state = text
	return changed
}

// Run works until ctx ends: at once, when woken, and from time to time.
func (e *Engine) Run(ctx context.Context) {
	wait := 200 * time.Millisecond
	for {
		err := e.round(ctx)
		if ctx.Err() != nil {
			return
		}
		pause := resyncEvery
		if err != nil {
			wait = min(2*wait, resyncEvery)
			pause = wait
			if e.setState("behind: " + err.Error()) {
				e.log.Warn("the engine is not in step", "node", e.cfg.Node, "error", err)
			}
		} else {
			wait = 200 * time.Millisecond
			if e.setState("in step") {
				e.log.Info("the engine is in step", "node", e.cfg.Node)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		case <-time.After(pause):
		}
	}
}

// round makes everything equal once. What fails does not stop the rest, and
// accounts do not wait for tables, whose sources may be slow to answer.
func (e *Engine) round(ctx context.Context) error {
	return errors.Join(
		e.locked(ctx, accountsPart, func(conn *pgx.Conn) error {
			return errors.Join(e.configure(ctx, conn), e.syncAccounts(ctx, conn))
		}),
		e.locked(ctx, tablesPart, func(conn *pgx.Conn) error { return e.syncTables(ctx, conn) }))
}

// The parts of a round that replicas take turns at, each for itself.
const (
	accountsPart = "accounts"
	tablesPart   = "tables"
)

// SyncAccounts makes the SQL accounts now.
func (e *Engine) SyncAccounts(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return e.locked(ctx, accountsPart, func(conn *pgx.Conn) error { return e.syncAccounts(ctx, conn) })
}

// locked runs a part with a connection to the engine while no other replica does.
func (e *Engine) locked(ctx context.Context, part string, f func(conn *pgx.Conn) error) error {
	if _, err := e.store.pool.Exec(ctx, "INSERT INTO portcullis.engine_turns (node, part) VALUES ($1, $2) ON CONFLICT DO NOTHING", e.cfg.Node, part); err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, e.store.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT FROM portcullis.engine_turns WHERE node = $1 AND part = $2 FOR UPDATE", e.cfg.Node, part); err != nil {
			return err
		}
		conn, err := e.connect(ctx)
		if err != nil {
			return err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		return f(conn)
	})
}

func (e *Engine) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(e.cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("engine URL: %w", err)
	}
	cfg.ConnectTimeout = 5 * time.Second
	cfg.RuntimeParams["application_name"] = "portcullis serve"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to the engine: %w", err)
	}
	// What this connection sends may hold secrets: none of it belongs into a log.
	for _, setting := range []string{
		"log_statement = 'none'", "log_min_duration_statement = -1", "log_min_duration_sample = -1", "log_min_error_statement = 'panic'",
		"log_parameter_max_length = 0", "log_parameter_max_length_on_error = 0", "pg_stat_statements.track = 'none'",
		"lock_timeout = '10s'", "search_path = pg_catalog",
	} {
		if _, err := conn.Exec(ctx, "SET "+setting); err != nil {
			return nil, errors.Join(fmt.Errorf("prepare the connection to the engine (a superuser is needed): %w", err), conn.Close(context.WithoutCancel(ctx)))
		}
	}
	return conn, nil
}
