package service

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/policy"
)

// Whose statements are taken into the audit.
const (
	auditMapped    = "mapped"
	auditEverybody = "everybody"
)

// ConnectionQueryAudit takes what people did on an instance with their own
// connection strings from its log into the audit, from the moment it is set.
type ConnectionQueryAudit struct {
	Connection string `json:"connection"`
	Who        string `json:"who,omitempty"` // mapped (default): people with an account; everybody

	// Read-only: how reading goes.
	LastRead *time.Time        `json:"last_read,omitempty"`
	Records  int64             `json:"records,omitempty"` // since it was set
	Damaged  int64             `json:"damaged,omitempty"` // entries of the log that could not be read
	Lost     string            `json:"lost,omitempty"`    // files that the instance removed before they were read
	Error    *connection.Error `json:"error,omitempty"`
}

func queryAuditKind() *kind[ConnectionQueryAudit] {
	return &kind[ConnectionQueryAudit]{
		name: "connection_query_audits", permission: policy.PermissionSourceAdmin, keyFields: []string{"connection"},
		key: func(a *ConnectionQueryAudit) []string { return []string{a.Connection} },
		normalize: func(a *ConnectionQueryAudit) error {
			if a.Who == "" {
				a.Who = auditMapped
			}
			if a.Who != auditMapped && a.Who != auditEverybody {
				return invalid("who", "must be %s or %s, not %q", auditMapped, auditEverybody, a.Who)
			}
			return checkIdentifier("connection", a.Connection)
		},
		public: func(a ConnectionQueryAudit) ConnectionQueryAudit {
			return ConnectionQueryAudit{Connection: a.Connection, Who: a.Who}
		},
		list: listQueryAudits,
		put:  putQueryAudit,
		remove: func(ctx context.Context, c *change, a *ConnectionQueryAudit) error {
			_, err := c.Exec(ctx, `DELETE FROM portcullis.connection_query_audits a USING portcullis.connections c WHERE a.connection = c.id AND c.name = $1`, a.Connection)
			return err
		},
	}
}

func listQueryAudits(ctx context.Context, q querier, key []string) ([]ConnectionQueryAudit, error) {
	rows, err := q.Query(ctx, `SELECT c.name, a.who, a.last_read, a.records, a.damaged, a.lost, a.error
		FROM portcullis.connection_query_audits a JOIN portcullis.connections c ON c.id = a.connection AND NOT c.deleting
		WHERE $1::text IS NULL OR c.name = $1 ORDER BY 1`, part(key, 0))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (a ConnectionQueryAudit, err error) {
		return a, r.Scan(&a.Connection, &a.Who, &a.LastRead, &a.Records, &a.Damaged, &a.Lost, &a.Error)
	})
}

func putQueryAudit(ctx context.Context, c *change, a, _ *ConnectionQueryAudit) error {
	tag, err := c.Exec(ctx, `INSERT INTO portcullis.connection_query_audits (connection, who) SELECT id, $2 FROM portcullis.connections WHERE name = $1 AND NOT deleting
		ON CONFLICT (connection) DO UPDATE SET who = EXCLUDED.who`, a.Connection, a.Who)
	if err == nil && tag.RowsAffected() == 0 {
		return invalid("connection", "there is no connection %q", a.Connection)
	}
	return err
}
