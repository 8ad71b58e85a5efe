package service

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// AuditEntry is a record with when and whence it came.
type AuditEntry struct {
	Received time.Time       `json:"received"`
	Node     string          `json:"node"`
	Kind     string          `json:"kind"`
	ID       string          `json:"id"`
	Record   json.RawMessage `json:"record"`
}

// AuditFilter chooses records; empty fields choose all.
type AuditFilter struct {
	Node, Kind, Role, DataSource, ID string
	Person                           string // userid, or iamid/userid where IAMID is empty
	IAMID                            string // of Person; empty: any
	Since                            time.Time
	Limit                            int // 1 to 1000, default 100
}

// Audit returns the newest matching records, newest first.
func (s *Store) Audit(ctx context.Context, f AuditFilter) ([]AuditEntry, error) {
	if f.Limit == 0 {
		f.Limit = 100
	}
	if f.Limit < 1 || f.Limit > 1000 {
		return nil, invalid("limit", "must be between 1 and 1000")
	}
	if f.IAMID != "" && f.Person == "" {
		return nil, invalid("iamid", "goes with person, the userid there")
	}
	// Records of native statements name people as iamid/userid.
	rows, err := s.pool.Query(ctx, `SELECT received, node, kind, id, body FROM portcullis.audit_records
		WHERE ($1 = '' OR node = $1) AND ($2 = '' OR kind = $2) AND ($3 = '' OR CASE json_typeof(body -> 'person')
				WHEN 'object' THEN body -> 'person' ->> 'userid' = $3 AND $9 IN ('', body -> 'person' ->> 'iamid') OR $9 = '' AND concat(body -> 'person' ->> 'iamid', '/', body -> 'person' ->> 'userid') = $3
				WHEN 'string' THEN body ->> 'person' = concat_ws('/', nullif($9, ''), $3) OR $9 = '' AND substr(body ->> 'person', 1 + strpos(body ->> 'person', '/')) = $3
				ELSE false END)
		  AND ($4 = '' OR body ->> 'role' = $4) AND ($5 = '' OR strpos(body::text, to_json($5::text)::text) > 0
				OR kind = 'native_statement' AND replace(concat_ws('.', substr(node, 1 + length('connection/')), body ->> 'database', body ->> 'object'), '"', '') = replace($5, '"', ''))
		  AND ($6 = '' OR id = $6) AND received > $7
		ORDER BY received DESC, arrival DESC LIMIT $8`, f.Node, f.Kind, f.Person, f.Role, f.DataSource, f.ID, f.Since, f.Limit, f.IAMID)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (e AuditEntry, err error) {
		return e, r.Scan(&e.Received, &e.Node, &e.Kind, &e.ID, &e.Record)
	})
}

// ChangeEntry is one line of the change log.
type ChangeEntry struct {
	Seq     int64           `json:"seq"`
	Made    time.Time       `json:"made"`
	Version int64           `json:"version"`
	Actor   string          `json:"actor"`
	Action  string          `json:"action"`
	Object  string          `json:"object"`
	Key     string          `json:"key"`
	Before  json.RawMessage `json:"before,omitempty"`
	After   json.RawMessage `json:"after,omitempty"`
}

// Changes returns the newest changes, newest first.
func (s *Store) Changes(ctx context.Context, limit int) ([]ChangeEntry, error) {
	if limit == 0 {
		limit = 100
	}
	if limit < 1 || limit > 1000 {
		return nil, invalid("limit", "must be between 1 and 1000")
	}
	rows, err := s.pool.Query(ctx, `SELECT seq, made_at, coalesce(version, 0), actor, action, object, key, before, after
		FROM portcullis.change_log ORDER BY seq DESC LIMIT $1`, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (e ChangeEntry, err error) {
		return e, r.Scan(&e.Seq, &e.Made, &e.Version, &e.Actor, &e.Action, &e.Object, &e.Key, &e.Before, &e.After)
	})
}
