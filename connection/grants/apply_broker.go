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
)

// sendToBroker has the broker's functions make the changes of a transaction, up
// to its commit. They check what the direct way checks afterwards, and name the
// change that failed as the column of the error.
func (x *executor) sendToBroker(ctx context.Context, conn *pgx.Conn, list []change, wait time.Duration) (int, error) {
	call, err := x.brokerCall(list)
	if err != nil {
		return -1, err
	}
	_, err = conn.PgConn().Exec(ctx, begin(wait)+"; "+call).ReadAll()
	if err == nil {
		return -1, nil
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Severity == "FATAL" {
		return -1, err
	}
	if at, parsed := strconv.Atoi(e.ColumnName); parsed == nil && at >= 0 && at < len(list) {
		return at, err
	}
	return -1, err
}

// brokerCall is the statement; changes of one list are all on roles or all on tables.
func (x *executor) brokerCall(list []change) (string, error) {
	function := "tables"
	if list[0].onRoles() {
		function = "roles"
	}
	words := make([]map[string]any, len(list))
	for i, c := range list {
		words[i] = c.brokered(func(role string) uint32 { return x.oids[role] })
	}
	text, err := json.Marshal(words)
	if err != nil {
		return "", fmt.Errorf("grants: the broker's words: %w", err)
	}
	return "SELECT portcullis_broker." + function + "(" + quoteLiteral(string(text)) + ")", nil
}
