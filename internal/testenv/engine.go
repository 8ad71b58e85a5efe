package testenv

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"testing"

	"portcullis.dev/portcullis/internal/seal"
)

// EngineOptions says what kind of installation is wanted.
type EngineOptions struct {
	Port        int               // of PostgreSQL: the first free one from it on, 0: any
	ServicePort int               // likewise
	Settings    map[string]string // postgresql.conf
	Fsync       bool              // else fsync=off, as suits tests
	Wrap        []string          // a program with arguments to run the server under (valgrind)
}

// Engine is an instance with the extension in the database immuta, and the
// policy service beside it with its store in the database portcullis.
type Engine struct {
	*Postgres
	Service *Service
}

// EngineDatabase is where people query.
const EngineDatabase = "immuta"

// StoreDatabase is the policy service's own.
const StoreDatabase = "portcullis"

// StartEngine starts an installation that ends with the test.
func StartEngine(tb testing.TB, o EngineOptions) *Engine {
	tb.Helper()
	e, err := ForTest(tb).StartEngine(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// StartEngine starts an instance with the extension and the service.
func (e *Env) StartEngine(ctx context.Context, o EngineOptions) (*Engine, error) {
	keys, err := e.keyFiles()
	if err != nil {
		return nil, err
	}
	folder, err := e.FileFolder()
	if err != nil {
		return nil, err
	}
	settings := map[string]string{
		"portcullis.file_folder": folder,
		"portcullis.key_file":    keys.node,
		"portcullis.node_name":   "engine",
		"portcullis.database":    EngineDatabase,
	}
	maps.Copy(settings, o.Settings)
	pg, err := e.StartPostgres(ctx, PostgresOptions{Name: "engine", Port: o.Port, Preload: "portcullis", Settings: settings, Fsync: o.Fsync, Wrap: o.Wrap})
	if err != nil {
		return nil, err
	}
	for _, database := range []string{EngineDatabase, StoreDatabase} {
		if err := pg.CreateDatabase(ctx, database); err != nil {
			return nil, err
		}
	}
	// Data sources are in the schema immuta; people name them without it.
	if err := pg.Exec(ctx, EngineDatabase, "CREATE EXTENSION portcullis; ALTER DATABASE "+EngineDatabase+" SET search_path = immuta, public"); err != nil {
		return nil, err
	}
	service, err := e.startService(ctx, pg, keys, o.ServicePort)
	return &Engine{Postgres: pg, Service: service}, err
}

// keyFile names the key files of an installation.
type keyFiles struct {
	node    string // unseals on the engine
	service string // unseals in the store
	admin   string // administrator's API key, written by the service

	checkpoints string // of the audit, written by the service
}

func (e *Env) keyFiles() (keyFiles, error) {
	as, err := serverAccount("postgres")
	if err != nil {
		return keyFiles{}, err
	}
	dir := filepath.Join(e.Dir, "keys")
	if err := as.mkdir(dir); err != nil {
		return keyFiles{}, err
	}
	k := keyFiles{node: filepath.Join(dir, "node.key"), service: filepath.Join(dir, "service.key"), admin: filepath.Join(dir, "admin.apikey"), checkpoints: filepath.Join(dir, "audit.checkpoints")}
	for _, name := range []string{k.node, k.service} {
		if err := seal.CreateKeyFile(name); err != nil {
			return keyFiles{}, err
		}
		if err := as.own(name); err != nil {
			return keyFiles{}, err
		}
	}
	return k, nil
}

func (e *Env) startService(ctx context.Context, pg *Postgres, keys keyFiles, port int) (*Service, error) {
	program, err := pg.Program()
	if err != nil {
		return nil, err
	}
	s := &Service{
		APIKeyFile: keys.admin, Checkpoints: keys.checkpoints, env: e, program: program, as: pg.as,
		args: []string{"serve", "--key-file", keys.service, "--node-key-file", keys.node,
			"--node", "engine", "--admin-key-file", keys.admin, "--checkpoint-file", keys.checkpoints},
		environ: []string{"PORTCULLIS_STORE=" + pg.DSN(StoreDatabase), "PORTCULLIS_ENGINE=" + pg.DSN(EngineDatabase)},
	}
	e.onStop(s.Stop)
	if err := onFreePort(port, e.logOf("service"), func(port int) error {
		s.listen = Loopback + ":" + strconv.Itoa(port)
		s.URL = "http://" + s.listen
		return s.startup(ctx)
	}); err != nil {
		return nil, fmt.Errorf("policy service: %w", err)
	}
	return s, nil
}
