package grants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// call is one call of the broker, for the changes of a list from start on.
type call struct {
	sql   string
	start int
}

// sendToBroker has the broker's functions make the changes of a transaction, up
// to its commit. They check what the direct way checks afterwards, and name the
// change that failed as the column of the error.
func (x *executor) sendToBroker(ctx context.Context, conn *pgx.Conn, list []change, wait time.Duration) (int, error) {
	calls, err := x.brokerCalls(list)
	if err != nil {
		return -1, err
	}
	text := begin(wait)
	for _, c := range calls {
		text += "; " + c.sql
	}
	done := -beginStatements
	results := conn.PgConn().Exec(ctx, text)
	for results.NextResult() {
		if _, err := results.ResultReader().Close(); err == nil {
			done++
		}
	}
	if err = results.Close(); err == nil {
		return -1, leftNothing(ctx, conn, list[0])
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Severity == "FATAL" || done < 0 || done >= len(calls) {
		return -1, err
	}
	if at, parsed := strconv.Atoi(e.ColumnName); parsed == nil && at >= 0 && calls[done].start+at < len(list) {
		return calls[done].start + at, err
	}
	return -1, err
}

// brokerCalls are the statements; changes of one list are all on roles or all on
// tables. Each maker has a function of its own.
func (x *executor) brokerCalls(list []change) (calls []call, err error) {
	for start := 0; start < len(list); {
		end := start + 1
		for end < len(list) && list[end].as == list[start].as {
			end++
		}
		function := "tables"
		if list[0].onRoles() {
			function = makerFunction(x.o.Target, list[start].as)
		}
		words := make([]map[string]any, 0, end-start)
		for _, c := range list[start:end] {
			words = append(words, c.brokered(func(role string) uint32 { return x.oids[role] }))
		}
		text, err := json.Marshal(words)
		if err != nil {
			return nil, fmt.Errorf("grants: the broker's words: %w", err)
		}
		calls = append(calls, call{"SELECT portcullis_broker." + function + "(" + sqltext.Literal(string(text)) + ")", start})
		start = end
	}
	return calls, nil
}

// sqlLeft looks for what would run as the account at the commit: triggers that
// were put off, which hang on rows written (as who wrote them only from PostgreSQL 18
// on), and cursors that are to outlive it.
const sqlLeft = `SET LOCAL search_path = pg_catalog, pg_temp; SELECT 1 FROM pg_cursors WHERE is_holdable
	UNION ALL SELECT 1 FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND mode = 'RowExclusiveLock' AND relation >= 16384`

// leftNothing makes sure that what calls itself the broker of tables left no code
// behind: it is its owner's, who may have put something else in its place.
func leftNothing(ctx context.Context, conn *pgx.Conn, first change) error {
	if first.onRoles() {
		return nil // its owner is ours, and it notes what it makes
	}
	results, err := conn.PgConn().Exec(ctx, sqlLeft).ReadAll()
	if err != nil {
		return err
	}
	if len(results[len(results)-1].Rows) > 0 {
		return &connection.Error{Code: "foreign_broker", Message: "the broker of this database does what the broker does not: it wrote rows or left a cursor",
			Hint: "See who replaced portcullis_broker.tables, and install the broker again."}
	}
	return nil
}
