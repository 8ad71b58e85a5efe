package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Transcript is all that a client sees of a session: rows, notices, errors.
type Transcript struct {
	Lines []string
	Err   *pgconn.PgError // the first
}

func (t *Transcript) String() string { return strings.Join(t.Lines, "\n") }

func (t *Transcript) add(format string, args ...any) {
	t.Lines = append(t.Lines, fmt.Sprintf(format, args...))
}

// Type opens a session, types statements by the simple protocol and writes
// down what comes back. It goes on after errors, as psql does.
func Type(ctx context.Context, dsn string, statements ...string) (*Transcript, error) {
	t := &Transcript{}
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { t.addMessage(n.Severity, (*pgconn.PgError)(n)) }
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() {
		// The caller's time may be over; the session is closed all the same.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = conn.Close(end)
	}()
	for _, sql := range statements {
		t.run(ctx, conn.PgConn(), sql)
		if conn.IsClosed() {
			t.add("the session ended")
			break
		}
	}
	return t, nil
}

func (t *Transcript) run(ctx context.Context, conn *pgconn.PgConn, sql string) {
	t.add("> %s", sql)
	var err error
	if head := strings.ToUpper(sql); strings.HasPrefix(head, "COPY ") && strings.Contains(head, "TO STDOUT") {
		err = t.copyOut(ctx, conn, sql)
	} else {
		err = t.query(ctx, conn, sql)
	}
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg):
		t.addMessage("ERROR", pg)
		if t.Err == nil {
			t.Err = pg
		}
	case err != nil:
		t.add("connection: %v", err)
	}
}

func (t *Transcript) query(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	results := conn.Exec(ctx, sql)
	for results.NextResult() {
		r := results.ResultReader()
		for r.NextRow() {
			t.add("%s", Row(r.Values()))
		}
		if tag, err := r.Close(); err == nil {
			t.add("%s", tag)
		}
	}
	return results.Close()
}

func (t *Transcript) copyOut(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	var out bytes.Buffer
	tag, err := conn.CopyTo(ctx, &out, sql)
	t.add("%s%s", out.String(), tag)
	return err
}

// Lines runs a query by the simple protocol and returns its rows.
func Lines(ctx context.Context, conn *pgx.Conn, sql string) ([]string, error) {
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, r := range results {
		for _, row := range r.Rows {
			lines = append(lines, Row(row))
		}
	}
	return lines, nil
}

// Code is the SQLSTATE of an error, "" if it has none.
func Code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// Row prints a row as fields between bars, NULL as NULL.
func Row(values [][]byte) string {
	fields := make([]string, len(values))
	for i, v := range values {
		if fields[i] = string(v); v == nil {
			fields[i] = "NULL"
		}
	}
	return strings.Join(fields, "|")
}

func (t *Transcript) addMessage(severity string, e *pgconn.PgError) {
	t.add("%s %s: %s", severity, e.Code, e.Message)
	for _, part := range []struct{ name, text string }{
		{"DETAIL", e.Detail}, {"HINT", e.Hint}, {"CONTEXT", e.Where}, {"INTERNAL", e.InternalQuery},
		{"OBJECT", strings.Trim(strings.Join([]string{e.SchemaName, e.TableName, e.ColumnName, e.DataTypeName, e.ConstraintName}, "."), ".")},
	} {
		if part.text != "" {
			t.add("%s: %s", part.name, part.text)
		}
	}
}
