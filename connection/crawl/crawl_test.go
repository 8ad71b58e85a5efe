package crawl_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/crawl"
	"portcullis.dev/portcullis/internal/testenv"
)

// host is a server and an account on it.
type host struct {
	t      *testing.T
	pg     *testenv.Postgres
	target connection.Target
}

func everyMajor(t *testing.T, f func(h *host)) {
	for _, major := range testenv.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			h := &host{t: t, pg: testenv.StartServer(t, testenv.ServerOptions{Major: major}), target: connection.Target{
				Username: "sys", Password: "pw", Database: "postgres", Mode: connection.ModeGrantor, Prefix: "portcullis_"}}
			h.sql("postgres", "CREATE ROLE sys LOGIN PASSWORD 'pw'")
			f(h)
		})
	}
}

func (h *host) sql(database, sql string) {
	h.t.Helper()
	if err := h.pg.Exec(h.t.Context(), database, sql); err != nil {
		h.t.Fatalf("%s: %v", sql, err)
	}
}

func (h *host) open(ctx context.Context, database string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, h.pg.DSNAs(h.target.Username, h.target.Password, database))
}

func (h *host) crawl(since crawl.Digests) []connection.Database {
	h.t.Helper()
	dbs, err := crawl.Crawl(h.t.Context(), crawl.Options{Open: h.open, Target: h.target, Since: since})
	if err != nil {
		h.t.Fatal(err)
	}
	return dbs
}
