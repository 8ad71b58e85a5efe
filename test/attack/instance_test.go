package attack

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/service"
	"portcullis.dev/portcullis/test/world"
)

// TestInstance: what a person may try on the instance beside its data sources.
func TestInstance(t *testing.T) {
	l := &lab{World: world.Start(t, world.Options{}), t: t}
	t.Run("hold up the service", l.holdUpService)
	t.Run("replicate", l.replicate)
}

// holdUpService: who may connect to the service's own database can lock what
// has no owner there; accounts are made and dropped all the same.
func (l *lab) holdUpService(t *testing.T) {
	conn, err := pgx.Connect(t.Context(), l.DSNAs(world.Eve, l.PasswordOf(world.Eve), testenv.StoreDatabase))
	if err != nil {
		t.Fatalf("the control: %v", err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	for _, lock := range []string{"hashtextextended('portcullis engine accounts engine', 0)", "hashtextextended('portcullis engine tables engine', 0)"} {
		if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_lock("+lock+")"); err != nil {
			t.Fatal(err)
		}
	}
	var tables int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_class c WHERE relkind IN ('r', 'v', 'S') AND has_schema_privilege(relnamespace, 'USAGE') AND oid >= 16384").Scan(&tables); err != nil || tables > 0 {
		t.Errorf("%d tables of the service are within reach, %v", tables, err)
	}
	password := testenv.Password()
	if err := l.Call(t.Context(), http.MethodPost, "/v1/sql_accounts", service.Account{Role: "late", UserID: world.Dan, Password: &password}, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := l.WaitSynced(ctx); err != nil {
		t.Errorf("the service waits: %v", err)
	}
}

// replicate: a connection that copies the instance's files or its changes is
// for those that may.
func (l *lab) replicate(t *testing.T) {
	for _, role := range []string{world.Eve, world.Exempt, l.User} {
		cfg, err := pgconn.ParseConfig(l.As(role))
		if err != nil {
			t.Fatal(err)
		}
		cfg.RuntimeParams["replication"] = "database"
		conn, err := pgconn.ConnectConfig(t.Context(), cfg)
		if err == nil {
			_, err = conn.Exec(t.Context(), "IDENTIFY_SYSTEM").ReadAll()
			if err := conn.Close(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		}
		if refused := err != nil; refused != (role != l.User) {
			t.Errorf("%s: %v", role, err)
		}
	}
}
