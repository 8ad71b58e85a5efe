package service

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/classify"
	"portcullis.dev/portcullis/policy"
)

// TagProposal is a tag that an object of a connection may deserve. It counts
// for nothing until a person sets the tag.
type TagProposal struct {
	Object string `json:"object"` // full name of the table
	classify.Proposal
}

// Bounds of one request for proposals.
const (
	maxProposedTables = 1000
	maxSampledTables  = 50
)

func (s *Server) proposalRoute(name param) route {
	return route{method: "GET", path: "/v1/connections/{name}/proposals", access: keyOnly, permission: policy.PermissionGovernance,
		summary: "Tags that comments, security labels, names and samples of values suggest", reply: []TagProposal{}, handle: s.connectionProposals,
		params: []param{name, {"under", "query", "only this table, or what is in this database or schema"}, {"after", "query", "full name of the last table looked at"},
			{"sample", "query", "true: also look at some values, of at most 50 tables; the system account must be able to read them"}}}
}

func (s *Server) connectionProposals(w http.ResponseWriter, r *http.Request, _ caller) error {
	q := r.URL.Query()
	sample := false
	switch q.Get("sample") {
	case "", "false":
	case "true":
		sample = true
		if err := longRequest(w); err != nil {
			return err
		}
	default:
		return invalid("sample", "must be true or false")
	}
	list, err := s.native.proposals(r.Context(), r.PathValue("name"), q.Get("under"), q.Get("after"), sample)
	if err != nil {
		return instanceError("", err)
	}
	writeJSON(w, http.StatusOK, listOrEmpty(list))
	return nil
}

// proposedTable is a table as last seen, with the tags it has.
type proposedTable struct {
	name       string
	ref        connection.ObjectRef
	object     connection.Object
	tags       []string
	columnTags map[string][]string
}

func (c *Connections) proposals(ctx context.Context, name, under, after string, sample bool) ([]TagProposal, error) {
	v, err := c.store.connectionNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	limit := maxProposedTables
	if sample {
		limit = maxSampledTables
	}
	tables, err := c.store.proposedTables(ctx, v.ID, under, after, limit)
	if err != nil {
		return nil, err
	}
	sampled := map[string][]classify.Proposal{}
	if sample {
		if sampled, err = c.sample(ctx, v, tables); err != nil {
			return nil, err
		}
	}
	var out []TagProposal
	for _, t := range tables {
		for _, p := range classify.Propose(t.object, sampled[t.name]) {
			if !t.has(p) {
				out = append(out, TagProposal{Object: t.name, Proposal: p})
			}
		}
	}
	return out, nil
}

// has tells whether somebody set the tag already.
func (t *proposedTable) has(p classify.Proposal) bool {
	if p.Column == "" {
		return slices.Contains(t.tags, p.Tag)
	}
	return slices.Contains(t.columnTags[p.Column], p.Tag)
}

func (s *Store) proposedTables(ctx context.Context, id, under, after string, limit int) ([]proposedTable, error) {
	rows, err := s.pool.Query(ctx, `SELECT o.full_name, d.name, s.name, o.name, o.oid, o.kind, o.comment, o.labels, o.columns, o.tags, o.column_tags
		FROM portcullis.connection_objects o JOIN portcullis.connection_objects s ON s.id = o.parent JOIN portcullis.connection_objects d ON d.id = s.parent
		WHERE o.connection = $1 AND o.level = 'table' AND o.dropped IS NULL AND o.oid > 0 AND ($2 = '' OR o.full_name = $2 OR starts_with(o.full_name, $2 || '.')) AND o.full_name > $3
		ORDER BY o.full_name LIMIT $4`, id, under, after, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (t proposedTable, err error) {
		var columns []byte
		if err := r.Scan(&t.name, &t.ref.Database, &t.ref.Schema, &t.ref.Name, &t.ref.OID, &t.object.Kind, &t.object.Comment, &t.object.Labels, &columns, &t.tags, &t.columnTags); err != nil {
			return t, err
		}
		t.object.Name, t.object.OID = t.ref.Name, t.ref.OID
		if columns != nil {
			err = json.Unmarshal(columns, &t.object.Columns)
		}
		return t, err
	})
}

// sample looks at values, database by database. A table that the account cannot
// read has no sample; names and comments still count.
func (c *Connections) sample(ctx context.Context, v Connection, tables []proposedTable) (map[string][]classify.Proposal, error) {
	target, err := c.store.target(ctx, v)
	if err != nil {
		return nil, err
	}
	out := map[string][]classify.Proposal{}
	var conn *pgx.Conn
	at := ""
	defer func() {
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	for _, t := range tables {
		if conn == nil || conn.IsClosed() || at != t.ref.Database {
			if conn != nil {
				_ = conn.Close(context.WithoutCancel(ctx))
			}
			if conn, err = c.reach.opener(target)(ctx, t.ref.Database); err != nil {
				return nil, err
			}
			at = t.ref.Database
		}
		found, err := classify.Sample(ctx, conn, t.ref, classify.Bounds{})
		var refused *connection.Error
		if err != nil && !errors.As(err, &refused) {
			return nil, err
		}
		out[t.name] = found
	}
	return out, nil
}
