package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/service"
)

// subscribed is the table that a person is subscribed to, again and again.
const subscribed = "bench.postgres.s1.t1"

// connections prints what an administrator and a person wait for: the
// registration of 10,000 tables in 100 schemas until all is in step, a sync that
// finds nothing new, and a new subscription until the person reads the table;
// and the most memory that the service took meanwhile.
func connections(ctx context.Context, i *installation) error {
	pg, err := i.env.StartPostgres(ctx, testenv.PostgresOptions{Name: "connected", Fsync: true, Settings: map[string]string{"max_locks_per_transaction": "1000"}})
	if err != nil {
		return err
	}
	if err := fillCrawled(ctx, pg); err != nil {
		return err
	}
	dba := filepath.Join(i.env.Dir, "connected.dba")
	if err := os.WriteFile(dba, []byte(pg.Password), 0o600); err != nil {
		return err
	}
	var first, again, visible time.Duration
	memory, err := peak(ctx, uint32(i.engine.Service.PID()), func() (err error) {
		if first, err = timed(func() error {
			_, err := i.engine.Service.CLI(ctx, "connection", "add", "bench", "--host", pg.Host, "--port", fmt.Sprint(pg.Port), "--tls", "disable",
				"--map-by", "userid", "--setup-user", pg.User, "--setup-password-file", dba)
			return err
		}); err != nil {
			return err
		}
		if again, err = median(3, func() error {
			_, err := i.engine.Service.CLI(ctx, "connection", "sync", "bench", "--object", subscribed)
			return err
		}); err != nil {
			return err
		}
		visible, err = i.subscribing(ctx, pg)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Printf("\nconnection with %d tables in %d schemas: registered and in step %d ms, sync of one schema %d ms, a subscription is visible after %d ms, the service takes at most %d MB\n",
		crawledTables, crawledSchemas, first.Milliseconds(), again.Milliseconds(), visible.Milliseconds(), memory>>10)
	_, err = i.engine.Service.CLI(ctx, "connection", "delete", "bench")
	return err
}

func timed(f func() error) (time.Duration, error) {
	begun := time.Now()
	err := f()
	return time.Since(begun), err
}

// subscribing is how long a person waits for a table, from the call that subscribes them.
func (i *installation) subscribing(ctx context.Context, pg *testenv.Postgres) (time.Duration, error) {
	key, err := os.ReadFile(i.engine.Service.APIKeyFile)
	if err != nil {
		return 0, err
	}
	c, err := service.NewClient(i.engine.Service.URL, strings.TrimSpace(string(key)), "")
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.Call(ctx, http.MethodPut, "/v1/people/reader", service.Person{UserID: "reader"}, nil); err != nil {
		return 0, err
	}
	conn, err := pgx.Connect(ctx, pg.DSNAs("reader", "reader", "postgres"))
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	path := "/v1/subscriptions/" + subscribed + "/reader"
	return middle(5, func() (time.Duration, error) {
		begun := time.Now()
		if err := c.Call(ctx, http.MethodPut, path, service.Subscription{DataSource: subscribed, UserID: "reader"}, nil); err != nil {
			return 0, err
		}
		if err := until(ctx, conn, true); err != nil {
			return 0, err
		}
		took := time.Since(begun)
		if err := c.Call(ctx, http.MethodDelete, path, nil, nil); err != nil {
			return 0, err
		}
		return took, until(ctx, conn, false)
	})
}

// until waits until the person may read the table, or may not.
func until(ctx context.Context, conn *pgx.Conn, may bool) error {
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		_, err = conn.Exec(ctx, "SELECT FROM s1.t1")
		if (err == nil) == may {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return fmt.Errorf("a subscription, or its end, did not reach the instance within a minute: %w", err)
}
