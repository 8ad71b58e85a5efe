package service

import (
	"context"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/setup"
	"portcullis.dev/portcullis/internal/sqltext"
)

// ConnectionCheck is what the system account of a connection may and lacks, as
// the instance says now.
type ConnectionCheck struct {
	Connection string `json:"connection"`
	Account    string `json:"account"`
	Ready      bool   `json:"ready"` // nothing is missing that the connection cannot work without
	setup.Report
}

func (s *Server) checkConnection(w http.ResponseWriter, r *http.Request, _ caller) error {
	if err := longRequest(w); err != nil {
		return err
	}
	found, err := s.native.check(r.Context(), r.PathValue("name"))
	if err != nil {
		return instanceError("", err)
	}
	writeJSON(w, http.StatusOK, found)
	return nil
}

// check logs in as the system account and changes nothing.
func (c *Connections) check(ctx context.Context, name string) (ConnectionCheck, error) {
	v, err := c.store.connectionNamed(ctx, name)
	if err != nil {
		return ConnectionCheck{}, err
	}
	target, err := c.store.target(ctx, v)
	if err != nil {
		return ConnectionCheck{}, err
	}
	report, err := setup.Check(ctx, c.reach.dialer(), target, nil)
	if err != nil {
		return ConnectionCheck{}, err
	}
	if err := anotherInstance(v, report.Server); err != nil {
		return ConnectionCheck{}, err
	}
	if v.Mode == connection.ModeBroker {
		unlisted, err := c.store.unlisted(ctx, v.ID)
		if err != nil {
			return ConnectionCheck{}, err
		}
		report.Missing = append(report.Missing, unlisted...)
	}
	return ConnectionCheck{Connection: v.Name, Account: v.Username, Ready: report.Ready(), Report: report}, nil
}

// unlisted are the schemas with tables under enforcement that the broker did not
// list when they were last crawled.
func (s *Store) unlisted(ctx context.Context, connectionID string) ([]setup.Missing, error) {
	rows, err := s.pool.Query(ctx, `SELECT d.name, s.name, count(*), min(o.fix)
		FROM portcullis.connection_objects o JOIN portcullis.connection_objects s ON s.id = o.parent JOIN portcullis.connection_objects d ON d.id = s.parent
			JOIN portcullis.connections c ON c.id = o.connection
		WHERE o.connection = $1 AND o.level = 'table' AND o.dropped IS NULL AND o.kind = ANY (c.kinds) AND coalesce(o.enforce, s.enforce, d.enforce, c.enforce)
			AND o.fix ~ '(^|\n)SELECT portcullis_broker\.list_table' GROUP BY d.name, s.name ORDER BY 1, 2`, connectionID)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (m setup.Missing, err error) {
		var schema string
		var tables int
		if err = r.Scan(&m.Database, &schema, &tables, &m.Statement); err != nil {
			return m, err
		}
		m.Optional, m.What = true, fmt.Sprintf("the broker lists a table of schema %s neither by itself nor with the schema", sqltext.Identifier(schema))
		if tables > 1 {
			m.What = fmt.Sprintf("the broker lists %d tables of schema %s neither by themselves nor with the schema", tables, sqltext.Identifier(schema))
			m.Statement = "SELECT portcullis_broker.list_schema(" + sqltext.Literal(schema) + ");"
		}
		return m, nil
	})
}
