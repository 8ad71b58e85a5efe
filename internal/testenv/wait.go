package testenv

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Until asks every 20 ms until the answer is true, for what no event tells;
// the last error says why it was not.
func Until(ctx context.Context, limit time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %w", limit, err)
		case <-tick.C:
		}
	}
}

// answers waits until a server that was started answers, at most a minute:
// nothing signals that without systemd.
func (p *process) answers(ctx context.Context, server string, ask func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	asking, giveUp := context.WithCancel(ctx)
	defer giveUp()
	go func() { // whoever else has the port may never answer
		select {
		case <-p.done:
			giveUp()
		case <-asking.Done():
		}
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask(asking)
		if err == nil {
			return nil
		}
		if p.ended() {
			return fmt.Errorf("%s did not start:\n%s", server, tail(p.log, 4000))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w\n%s", server, err, tail(p.log, 4000))
		case <-p.done:
		case <-tick.C:
		}
	}
}

// loginWorks is a login, as a question to a server that may not be up yet.
func loginWorks(dsn string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	}
}

// May tells whether who logs in with a connection URL has the privileges for a
// statement. Any other failure ends the test.
func May(tb testing.TB, dsn, sql string) bool {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), dsn)
	if err == nil {
		defer conn.Close(tb.Context())
		_, err = conn.Exec(tb.Context(), sql)
	}
	var refused *pgconn.PgError
	if err != nil && (!errors.As(err, &refused) || refused.Code != "42501") {
		tb.Fatalf("%s: %v", sql, err)
	}
	return err == nil
}
