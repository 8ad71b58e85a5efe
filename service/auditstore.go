package service

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// AuditReply says what became of each record of a request: it was new, had
// been stored before, or is refused for what it is.
type AuditReply struct {
	Stored   int             `json:"stored"`
	Repeated int             `json:"repeated"`
	Refused  []RefusedRecord `json:"refused,omitempty"`

	Findings []AuditFinding `json:"-"` // what was wrong with the node's chain
}

// StoreAudit keeps records, one JSON object a line, by node, id and kind; a
// repeat changes nothing. What can be kept is kept, all of it or (where an
// error is returned) nothing.
func (s *Store) StoreAudit(ctx context.Context, node string, lines io.Reader) (AuditReply, error) {
	taken, refused, err := readAuditLines(lines)
	if err != nil || len(taken) == 0 {
		return AuditReply{Refused: refused}, err
	}
	var reply AuditReply
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		reply = AuditReply{Refused: refused}
		head, err := lockHead(ctx, tx, node)
		if err != nil {
			return err
		}
		fresh, repeated, err := insertAudit(ctx, tx, node, taken)
		if isDataError(err) {
			fresh, repeated, err = insertEach(ctx, tx, node, taken, &reply)
		}
		if err != nil {
			return err
		}
		reply.Stored, reply.Repeated = len(fresh), len(repeated)
		if err := head.advance(ctx, tx, fresh); err != nil {
			return err
		}
		if err := head.compareRepeats(ctx, tx, repeated); err != nil {
			return err
		}
		reply.Findings = head.findings
		return head.store(ctx, tx)
	})
	return reply, err
}

// isDataError tells that PostgreSQL refuses a value, not that it cannot work now.
func isDataError(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || len(pg.Code) != 5 {
		return false
	}
	switch pg.Code[:2] {
	case "22", "23", "54": // data exception, constraint, program limit
		return true
	}
	return false
}

const insertRecord = `INSERT INTO portcullis.audit_records (id, kind, node, body, seq, chain, digest, original)
	VALUES ($1, $2, $3, $4, nullif($5, 0), $6, $7, $8) ON CONFLICT DO NOTHING`

// insertAudit stores the lines within a savepoint: all of them or an error.
func insertAudit(ctx context.Context, tx pgx.Tx, node string, lines []auditLine) (fresh, repeated []auditLine, err error) {
	batch := &pgx.Batch{}
	for _, l := range lines {
		batch.Queue(insertRecord, l.id, l.kind, node, l.body, l.seq, l.chain, l.digest[:], l.original).Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() == 1 {
				fresh = append(fresh, l)
			} else {
				repeated = append(repeated, l)
			}
			return nil
		})
	}
	err = pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error { return savepoint.SendBatch(ctx, batch).Close() })
	return fresh, repeated, err
}

// insertEach stores line by line and refuses those that PostgreSQL refuses.
func insertEach(ctx context.Context, tx pgx.Tx, node string, lines []auditLine, reply *AuditReply) (fresh, repeated []auditLine, err error) {
	for _, l := range lines {
		f, r, err := insertAudit(ctx, tx, node, []auditLine{l})
		var pg *pgconn.PgError
		switch {
		case isDataError(err) && errors.As(err, &pg):
			reply.Refused = append(reply.Refused, RefusedRecord{Line: l.number, ID: l.id, Kind: l.kind, Reason: pg.Message})
			continue
		case err != nil:
			return nil, nil, err
		}
		fresh, repeated = append(fresh, f...), append(repeated, r...)
	}
	return fresh, repeated, nil
}

// compareRepeats looks for records that came before with another content.
func (h *auditHead) compareRepeats(ctx context.Context, tx pgx.Tx, repeated []auditLine) error {
	for _, l := range repeated {
		var digest, chain []byte
		if err := tx.QueryRow(ctx, "SELECT digest, coalesce(chain, '') FROM portcullis.audit_records WHERE id = $1 AND kind = $2 AND node = $3", l.id, l.kind, h.Node).Scan(&digest, &chain); err != nil {
			return err
		}
		if digest != nil && (!bytes.Equal(digest, l.digest[:]) || !bytes.Equal(chain, l.chain)) {
			h.find("edit", l.seq, l.seq, "record "+l.id+" ("+l.kind+") came again with another content; the first is kept")
		}
	}
	return nil
}
