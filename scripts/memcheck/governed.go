package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/testenv"
)

// useGoverned puts the tables under masks and a row filter, and reads them as
// a person who may and as one who may not.
func useGoverned(ctx context.Context, env *testenv.Env, engine *testenv.Engine, s *sources) error {
	password := testenv.Password()
	state, err := writeState(env, s, password)
	if err != nil {
		return err
	}
	fmt.Println("Applying policies …")
	if err := engine.Service.Apply(ctx, state); err != nil {
		return err
	}
	for _, relation := range []string{"governed_pg", "governed_mariadb", "governed_sqlite"} {
		if err := use(ctx, engine.DSNAs("reader", password, testenv.EngineDatabase), relation); err != nil {
			return err
		}
		conn, err := pgx.Connect(ctx, engine.DSNAs("stranger", password, testenv.EngineDatabase))
		if err != nil {
			return err
		}
		if err := refused(ctx, conn, "SELECT * FROM "+relation); err != nil {
			return err
		}
		if err := conn.Close(ctx); err != nil {
			return err
		}
	}
	return useSecrets(ctx, engine.DSNAs("reader", password, testenv.EngineDatabase), "governed_pg", false)
}

func writeState(env *testenv.Env, s *sources, password string) (string, error) {
	dir := filepath.Join(env.Dir, "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	files := map[string]string{"postgres": s.postgres.Password, "mariadb": s.mariadb.Password, "person": password}
	files["state.yaml"] = fmt.Sprintf(`groups: [{name: readers}]
people: [{userid: reader, groups: [readers], attributes: {kind: [words 1]}}, {userid: stranger}]
sources:
  - {name: g_pg, driver: PostgreSQL Unicode, host: %[1]s, port: %[2]d, database: postgres, username: %[3]s, password_file: %[7]s/postgres}
  - {name: g_mariadb, driver: MariaDB Unicode, host: %[4]s, port: %[5]d, database: d, username: %[6]s, password_file: %[7]s/mariadb}
  - {name: g_sqlite, driver: SQLite3, database: %[8]s}
data_sources:
  - {name: governed_pg, source: g_pg, remote_schema: public, remote_table: things, discoverable: true}
  - {name: governed_mariadb, source: g_mariadb, remote_table: things, discoverable: true}
  - {name: governed_sqlite, source: g_sqlite, remote_table: things, discoverable: true}
policies:
  - {name: readers read, kind: subscription, on: {all: true}, who: {group: readers}}
  - {name: words are hashed, kind: mask, on: {all: true}, columns: {names: [words]}, mask: {kind: hash}}
  - {name: days are months, kind: mask, on: {all: true}, columns: {names: [day]}, mask: {kind: truncate, unit: month}}
  - {name: some rows, kind: filter, on: {all: true}, filter: "id >= 100 OR @attributeValuesContains('kind', words)"}
sql_accounts:
  - {role: reader, userid: reader, password_file: %[7]s/person}
  - {role: stranger, userid: stranger, password_file: %[7]s/person}
`, s.postgres.Host, s.postgres.Port, s.postgres.User, s.mariadb.Host, s.mariadb.Port, s.mariadb.User, dir, s.sqlite.Path)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "state.yaml"), nil
}
