package service

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Bounds on what a node may send.
const (
	maxRecord  = 1 << 20  // bytes of one record
	maxRecords = 16 << 20 // bytes of one request
)

// AuditReply counts what was new and what had been stored before.
type AuditReply struct {
	Stored   int `json:"stored"`
	Repeated int `json:"repeated"`
}

// StoreAudit keeps records, one JSON object a line, by node, id and kind; a
// repeat changes nothing. Either all lines are kept or none.
func (s *Store) StoreAudit(ctx context.Context, node string, lines io.Reader) (AuditReply, error) {
	var reply AuditReply
	batch := &pgx.Batch{}
	scan := bufio.NewScanner(lines)
	scan.Buffer(make([]byte, 64<<10), maxRecord)
	for n := 1; scan.Scan(); n++ {
		line := bytes.TrimSpace(scan.Bytes())
		if len(line) == 0 {
			continue
		}
		id, kind, err := recordKey(n, line)
		if err != nil {
			return reply, err
		}
		batch.Queue(`INSERT INTO portcullis.audit_records (id, kind, node, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
			id, kind, node, storable(line)).Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() == 1 {
				reply.Stored++
			} else {
				reply.Repeated++
			}
			return nil
		})
	}
	if err := scan.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return reply, malformed("record", "a record is longer than %d bytes", maxRecord)
		}
		return reply, err
	}
	if batch.Len() == 0 {
		return reply, nil
	}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return tx.SendBatch(ctx, batch).Close() })
	return reply, constraint("record", err)
}

func recordKey(n int, line []byte) (id, kind string, err error) {
	var key struct {
		ID   string `json:"id"`
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(line, &key); err != nil {
		return "", "", malformed(fmt.Sprintf("line %d", n), "is not a JSON object: %v", err)
	}
	if key.ID == "" || len(key.ID) > 256 {
		return "", "", malformed(fmt.Sprintf("line %d.id", n), "must be a text of 1 to 256 bytes")
	}
	if key.Kind == "" || len(key.Kind) > 64 {
		return "", "", malformed(fmt.Sprintf("line %d.kind", n), "must be a text of 1 to 64 bytes")
	}
	return key.ID, key.Kind, nil
}

// storable returns a copy that jsonb takes: no NUL, no broken UTF-8, no lone
// surrogate. A record must never be refused for what a user wrote in it.
func storable(line []byte) []byte {
	if utf8.Valid(line) && !bytes.Contains(line, []byte(`\u`)) {
		return bytes.Clone(line)
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return bytes.Clone(line)
	}
	out, err := json.Marshal(withoutNUL(v))
	if err != nil {
		return bytes.Clone(line)
	}
	return out
}

func withoutNUL(v any) any {
	switch x := v.(type) {
	case string:
		return strings.ReplaceAll(x, "\x00", "\uFFFD")
	case []any:
		for i := range x {
			x[i] = withoutNUL(x[i])
		}
	case map[string]any:
		clean := make(map[string]any, len(x))
		for k, e := range x {
			clean[strings.ReplaceAll(k, "\x00", "\uFFFD")] = withoutNUL(e)
		}
		return clean
	}
	return v
}

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
	Node, Kind, Person, Role, DataSource, ID string
	Since                                    time.Time
	Limit                                    int // 1 to 1000, default 100
}

// Audit returns the newest matching records, newest first.
func (s *Store) Audit(ctx context.Context, f AuditFilter) ([]AuditEntry, error) {
	if f.Limit == 0 {
		f.Limit = 100
	}
	if f.Limit < 1 || f.Limit > 1000 {
		return nil, invalid("limit", "must be between 1 and 1000")
	}
	rows, err := s.pool.Query(ctx, `SELECT received, node, kind, id, body FROM portcullis.audit_records
		WHERE ($1 = '' OR node = $1) AND ($2 = '' OR kind = $2) AND ($3 = '' OR body -> 'person' ->> 'userid' = $3 OR body ->> 'person' = $3)
		  AND ($4 = '' OR body ->> 'role' = $4) AND ($5 = '' OR strpos(body::text, to_json($5::text)::text) > 0)
		  AND ($6 = '' OR id = $6) AND received > $7
		ORDER BY received DESC, arrival DESC LIMIT $8`, f.Node, f.Kind, f.Person, f.Role, f.DataSource, f.ID, f.Since, f.Limit)
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
