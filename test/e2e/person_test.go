// Package e2e does what users do, on an installation of real parts.
package e2e

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/service"
	"portcullis.dev/portcullis/test/world"
)

const staff = "(id, name, dept, salary, ssn, phone, born, note)"

// fill gives each source the same five people.
func fill(t *testing.T, w *world.World) {
	t.Helper()
	for _, s := range w.Sources {
		err := s.Exec(t.Context(), "DELETE FROM "+s.Table+"; INSERT INTO "+s.Table+" "+staff+` VALUES
			(1, 'Ann', 'sales', 1200, '111-22-3333', '+49 30 5551234', '1980-05-06', 'north'),
			(2, 'Ben', 'sales', 2300, '222-33-4444', '+49 30 5559934', '1991-11-30', 'south'),
			(3, 'Cid', 'sales', 3100, '333-44-5555', '+49 30 5550056', '1975-02-03', 'east'),
			(4, 'Dora', 'hr', 4100, '444-55-6666', '+49 30 5557890', '1988-08-08', 'west'),
			(5, 'Emil', 'board', 9900, '555-66-7777', '+49 30 5553456', '1960-01-31', 'up');`)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// person is what the service knows of one at the start.
func person(t *testing.T, w *world.World, userid string) service.Person {
	t.Helper()
	var p service.Person
	if err := w.Call(t.Context(), http.MethodGet, "/v1/people/"+url.PathEscape(userid), nil, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// put changes a person and returns when that was in force at the service.
func put(t *testing.T, w *world.World, p service.Person) time.Time {
	t.Helper()
	if err := w.PutPerson(context.WithoutCancel(t.Context()), p); err != nil {
		t.Fatal(err)
	}
	return time.Now()
}

// texts runs a query and returns its rows, one a line.
func texts(ctx context.Context, conn *pgx.Conn, sql string) (string, error) {
	lines, err := world.Lines(ctx, conn, sql)
	return strings.Join(lines, "\n"), err
}

// detail is all that an error says.
func detail(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Message + "\n" + pg.Detail + "\n" + pg.Hint
	}
	return ""
}
