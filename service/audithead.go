package service

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5"
)

// AuditFinding is something wrong with a node's chain: records that are
// missing (gap), that came after ones behind them (late), a second record in
// the place of another (fork), or one that changed (edit).
type AuditFinding struct {
	Found  time.Time `json:"found"`
	Node   string    `json:"node"`
	Kind   string    `json:"kind"`
	First  int64     `json:"first_seq"`
	Last   int64     `json:"last_seq"`
	Detail string    `json:"detail,omitempty"`
}

// AuditHead is how far a node's chain has come.
type AuditHead struct {
	Node    string `json:"node"`
	Seq     int64  `json:"seq"`
	Chain   []byte `json:"chain"`
	Records int64  `json:"records"`
	Digest  []byte `json:"digest"` // over all records in the order of arrival, see foldDigest
}

// foldDigest adds a record to the digest over all of a node's records.
func foldDigest(before []byte, seq int64, chain, digest []byte) []byte {
	h := sha256.New()
	h.Write(before)
	_ = binary.Write(h, binary.BigEndian, seq) // a hash takes everything
	h.Write(chain)
	h.Write(digest)
	return h.Sum(nil)
}

// auditHead is a head while records are stored; its row is locked.
type auditHead struct {
	AuditHead
	findings []AuditFinding
}

func lockHead(ctx context.Context, tx pgx.Tx, node string) (*auditHead, error) {
	if _, err := tx.Exec(ctx, "INSERT INTO portcullis.audit_heads (node) VALUES ($1) ON CONFLICT DO NOTHING", node); err != nil {
		return nil, err
	}
	h := &auditHead{}
	return h, tx.QueryRow(ctx, "SELECT node, seq, chain, records, digest FROM portcullis.audit_heads WHERE node = $1 FOR UPDATE", node).
		Scan(&h.Node, &h.Seq, &h.Chain, &h.Records, &h.Digest)
}

func (h *auditHead) store(ctx context.Context, tx pgx.Tx) error {
	for _, f := range h.findings {
		if _, err := tx.Exec(ctx, "INSERT INTO portcullis.audit_findings (node, kind, first_seq, last_seq, detail) VALUES ($1, $2, $3, $4, $5)",
			f.Node, f.Kind, f.First, f.Last, f.Detail); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, "UPDATE portcullis.audit_heads SET seq = $2, chain = $3, records = $4, digest = $5 WHERE node = $1", h.Node, h.Seq, h.Chain, h.Records, h.Digest)
	return err
}

// find notes a finding; neighbours of one kind are one.
func (h *auditHead) find(kind string, first, last int64, detail string) {
	if n := len(h.findings); n > 0 && kind != "edit" && h.findings[n-1].Kind == kind && h.findings[n-1].Last+1 == first {
		h.findings[n-1].Last = last
		return
	}
	h.findings = append(h.findings, AuditFinding{Node: h.Node, Kind: kind, First: first, Last: last, Detail: detail})
}

// advance moves the head over records that were stored just now.
func (h *auditHead) advance(ctx context.Context, tx pgx.Tx, fresh []auditLine) error {
	for _, l := range fresh {
		h.Records++
		h.Digest = foldDigest(h.Digest, l.seq, l.chain, l.digest[:])
		switch {
		case l.seq == 0:
			continue
		case l.seq <= h.Seq:
			if err := h.behind(ctx, tx, l); err != nil {
				return err
			}
		case l.seq > h.Seq+1:
			h.find("gap", h.Seq+1, l.seq-1, "these records have not come")
		}
		if l.seq > h.Seq {
			h.Seq, h.Chain = l.seq, l.chain
		}
	}
	return nil
}

// behind looks at a record that comes after ones behind it: it is late, or
// another one stands in its place already.
func (h *auditHead) behind(ctx context.Context, tx pgx.Tx, l auditLine) error {
	var taken bool
	err := tx.QueryRow(ctx, "SELECT count(*) > 1 FROM portcullis.audit_records WHERE node = $1 AND seq = $2", h.Node, l.seq).Scan(&taken)
	if err != nil {
		return err
	}
	if taken {
		h.find("fork", l.seq, l.seq, "another record stands in this place: the node's spool began anew, was restored, or was forged")
		return nil
	}
	h.find("late", l.seq, l.seq, "came after records behind it")
	return nil
}

// AuditHeads lists the heads of all nodes.
func (s *Store) AuditHeads(ctx context.Context) ([]AuditHead, error) {
	rows, err := s.pool.Query(ctx, "SELECT node, seq, chain, records, digest FROM portcullis.audit_heads ORDER BY node")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (h AuditHead, err error) {
		return h, r.Scan(&h.Node, &h.Seq, &h.Chain, &h.Records, &h.Digest)
	})
}

// AuditFindings lists the newest findings, newest first.
func (s *Store) AuditFindings(ctx context.Context, limit int) ([]AuditFinding, error) {
	if limit == 0 {
		limit = 100
	}
	rows, err := s.pool.Query(ctx, "SELECT found, node, kind, first_seq, last_seq, detail FROM portcullis.audit_findings ORDER BY id DESC LIMIT $1", limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (f AuditFinding, err error) {
		return f, r.Scan(&f.Found, &f.Node, &f.Kind, &f.First, &f.Last, &f.Detail)
	})
}

// ChainEntry is a record with its place, for verification.
type ChainEntry struct {
	Arrival int64  `json:"arrival"`
	Seq     int64  `json:"seq"` // 0: the node gave none
	Chain   []byte `json:"chain"`
	Digest  []byte `json:"digest"`
	Record  []byte `json:"record"` // as the node wrote it
}

// chainPage bounds an answer of AuditChain, bytes of records.
const chainPage = 16 << 20

// AuditChain returns records of a node that arrived after a place, in the
// order of arrival, at most so many and about 16 MB; those that came before
// records were digested are left out.
func (s *Store) AuditChain(ctx context.Context, node string, after int64, limit int) ([]ChainEntry, error) {
	if limit == 0 {
		limit = 1000
	}
	rows, err := s.pool.Query(ctx, `SELECT arrival, coalesce(seq, 0), coalesce(chain, ''), digest, coalesce(original, convert_to(body::text, 'UTF8'))
		FROM portcullis.audit_records WHERE node = $1 AND arrival > $2 AND digest IS NOT NULL ORDER BY arrival LIMIT $3`, node, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []ChainEntry
	for size := 0; size < chainPage && rows.Next(); {
		var e ChainEntry
		var line []byte
		if err := rows.Scan(&e.Arrival, &e.Seq, &e.Chain, &e.Digest, &line); err != nil {
			return nil, err
		}
		_, _, e.Record = chainPlace(line)
		page = append(page, e)
		size += len(line)
	}
	rows.Close()
	return page, rows.Err()
}
