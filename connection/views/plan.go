package views

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection/parts"
)

// errPlanned ends a transaction that only looks.
var errPlanned = errors.New("planned")

// Plan tells, changing nothing, what Apply would do to the views of a database:
// those that stand for people afterwards, but for new ones, and the statements.
func Plan(ctx context.Context, conn *pgx.Conn, o parts.Options, database string, tables []Table) (made []Made, statements []string, err error) {
	a := &applier{o: o, database: database, conn: conn}
	ready, err := a.ready(ctx)
	if err != nil || !ready {
		return nil, nil, err
	}
	var jobs []job
	err = a.transaction(ctx, parts.Briefly, func(tx pgx.Tx) (err error) {
		if jobs, _, err = a.fillAll(ctx, tx, tables); err != nil {
			return err
		}
		return errPlanned
	})
	if !errors.Is(err, errPlanned) {
		return nil, nil, err
	}
	for _, j := range jobs {
		a.keep(j)
		switch {
		case j.view != nil:
			statements = append(statements, createText(j.qualified(), j.view.query(j.table)))
		case j.before.ours:
			statements = append(statements, "DROP VIEW "+j.qualified())
		}
	}
	return a.out.Made, statements, nil
}
