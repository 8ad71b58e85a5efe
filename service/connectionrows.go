package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/rows"
	"portcullis.dev/portcullis/policy"
)

// RowsStatus is a table of which people see some rows, under its own name, by row-level security.
type RowsStatus struct {
	Table   string   `json:"table"`
	InForce bool     `json:"in_force"`
	People  int      `json:"people"` // who see some rows of it
	Reasons []string `json:"reasons,omitempty"`
	Fix     string   `json:"fix,omitempty"` // what a DBA must run
}

// parted is what the evaluator decides for people who may see a part of a table.
type parted struct {
	table    *nativeTable
	people   []policy.PersonID
	decided  []policy.Decision
	columns  []policy.Column
	hashKey  []byte
	isPlain  bool // a table without partitions, parents and children
	isMasked bool // some value is masked for somebody
}

// rowsOf tells whether row-level security shows people their part of a table.
// Where masks are for somebody a view does, for everybody: never both on one table.
func (w *wanting) rowsOf(p parted) (rows.Table, bool) {
	if !w.connection.RowSecurity {
		return rows.Table{}, false
	}
	t := rows.Table{Ref: p.table.ref, Columns: p.columns}
	reason := ""
	switch {
	case !p.isPlain:
		reason = "it is no plain table, or a partition or child of another, or has some"
	case p.isMasked:
		reason = "policies mask columns of it for some people"
	}
	if reason != "" {
		if !w.connection.Views && len(w.unrowed) < maxListed {
			w.unrowed = append(w.unrowed, RowsStatus{Table: fullName(p.table.ref.Database, p.table.ref.Schema, p.table.ref.Name), Reasons: []string{reason}})
		}
		return t, false
	}
	for i, id := range p.people {
		t.People = append(t.People, rows.Person{Role: w.roles[id], Filter: p.decided[i].Filter, Write: w.partial[p.table.id][id]})
	}
	return t, true
}

// plainTables are those of these tables that are neither partitioned nor views nor foreign.
func plainTables(ctx context.Context, q querier, ids [][16]byte) (map[[16]byte]bool, error) {
	list := make([]pgtype.UUID, 0, len(ids))
	for _, id := range ids {
		list = append(list, pgtype.UUID{Bytes: id, Valid: true})
	}
	found, err := q.Query(ctx, "SELECT id FROM portcullis.connection_objects WHERE id = ANY ($1) AND kind = $2", list, string(connection.KindTable))
	if err != nil {
		return nil, err
	}
	out := map[[16]byte]bool{}
	var id pgtype.UUID
	_, err = pgx.ForEachRow(found, []any{&id}, func() error { out[id.Bytes] = true; return nil })
	return out, err
}

// rowsIn is what a loop remembers of a database whose policies are as they were wanted.
type rowsIn struct {
	wanted  string // digest
	outcome rows.Outcome
}

// applyRows makes policies of tables equal to what is wanted, before anybody is
// granted them, and adds the sets of those who may read and write by them. Where they
// cannot be made nobody gets anything, and what failed is pending.
func (l *connectionLoop) applyRows(ctx context.Context, target connection.Target, open func(context.Context, string) (*pgx.Conn, error), d *desired, anew bool) (failed []connection.Pending, err error) {
	m := &l.memory
	m.rowsMended, m.surplus = 0, nil
	m.status.Rows = slices.Clone(d.unrowed)
	databases, err := l.standingIn(ctx, slices.Collect(maps.Keys(d.rows)), &m.status.RowsIn)
	if err != nil {
		return nil, err
	}
	var absent []string
	patience := viewPatience
	for _, database := range databases {
		wanted := viewsDigest(d.rows[database])
		known, ok := m.rows[database]
		if anew || !ok || known.wanted != wanted {
			delete(m.rows, database)
			o := l.rowsOptions(target, open, database)
			o.Patience = patience
			known.wanted = wanted
			known.outcome, err = rows.Apply(ctx, o, database, d.rows[database])
			if ctx.Err() != nil || errors.Is(err, errLease) {
				return nil, err
			}
			if err != nil {
				failed = append(failed, l.viewsPending(fmt.Sprintf("-- row-level security in database %q", database), err))
				continue
			}
			m.rowsMended += known.outcome.Mended
			known.outcome.Mended = 0
		}
		out := known.outcome
		patience = max(patience-out.Waited, 1)
		absent = append(absent, out.Absent...)
		failed = append(failed, l.unfinished(out.Outcome, "policies", database)...)
		if out.Surplus || len(d.rows[database]) == 0 {
			m.surplus = append(m.surplus, database)
		}
		if len(out.Waiting) == 0 && !out.Left && !out.Surplus && len(out.Absent) == 0 {
			known.outcome.Waited = 0
			m.rows[database] = known
		}
		l.takeRows(out, d)
	}
	if again := viewsDigest(absent); len(absent) > 0 && again != m.absent { // the grants engine makes them now
		m.absent, m.viewsLeft = again, true
	}
	m.status.Rows = firstOf(m.status.Rows, maxListed)
	return failed, nil
}

func (l *connectionLoop) rowsOptions(target connection.Target, open func(context.Context, string) (*pgx.Conn, error), database string) rows.Options {
	return rows.Options{Options: l.partsOptions(target), Open: func(ctx context.Context) (*pgx.Conn, error) { return open(ctx, database) }}
}

// takeRows adds the sets of the tables of a database, and says how they stand.
func (l *connectionLoop) takeRows(out rows.Outcome, d *desired) {
	of := func(ref connection.ObjectRef) *RowsStatus {
		name := fullName(ref.Database, ref.Schema, ref.Name)
		return entry(&l.memory.status.Rows, func(s RowsStatus) bool { return s.Table == name }, RowsStatus{Table: name})
	}
	for _, m := range out.Made {
		d.want.Sets = append(d.want.Sets, m.Sets()...)
		s := of(m.Base)
		s.InForce, s.People = true, len(m.Readers)+len(m.Writers)
	}
	for _, r := range out.Refused {
		s := of(r.Table)
		s.Reasons, s.Fix = append(s.Reasons, r.String()), r.Fix
	}
}

// clearRows takes away policies that are not wanted, now that the grants that
// needed them were revoked. A view of such a table can be made from then on.
func (l *connectionLoop) clearRows(ctx context.Context, target connection.Target, open func(context.Context, string) (*pgx.Conn, error), d *desired) error {
	m := &l.memory
	for _, database := range m.surplus {
		out, err := rows.Clear(ctx, l.rowsOptions(target, open, database), database, wantedRows(d, database))
		if ctx.Err() != nil || errors.Is(err, errLease) {
			return err
		}
		if err != nil {
			m.status.Pending = append(m.status.Pending, l.viewsPending(fmt.Sprintf("-- row-level security in database %q", database), err))
			continue
		}
		m.status.Pending = append(m.status.Pending, l.stillWaiting(out.Waiting)...)
		if len(out.Waiting) > 0 || out.Left {
			m.viewsLeft = m.viewsLeft || out.Left
			continue
		}
		if len(d.rows[database]) == 0 {
			m.status.RowsIn = slices.DeleteFunc(m.status.RowsIn, func(name string) bool { return name == database })
		}
		if out.Cleared > 0 && len(d.views[database]) > 0 {
			delete(m.views, database)
			m.viewsLeft = true
		}
	}
	return nil
}

// rowSets are the sets of tables whose policies are in force.
func (d *desired) rowSets(list []RowsStatus) (sets []connection.AccessSet) {
	for _, tables := range d.rows {
		for _, t := range tables {
			name := fullName(t.Ref.Database, t.Ref.Schema, t.Ref.Name)
			if slices.ContainsFunc(list, func(s RowsStatus) bool { return s.Table == name && s.InForce }) {
				sets = append(sets, rows.Planned(t).Sets()...)
			}
		}
	}
	return sets
}

// wantedRows are the tables of a database whose policies stay: those that are in force.
func wantedRows(d *desired, database string) (out []rows.Table) {
	for _, t := range d.rows[database] {
		if slices.ContainsFunc(d.want.Sets, func(s connection.AccessSet) bool { return s.Rows && s.Tables[0] == t.Ref }) {
			out = append(out, t)
		}
	}
	return out
}

// withoutRows leaves out the tables that people see by row-level security of
// what is withheld from them.
func withoutRows(withheld []Withheld, c Connection, list []RowsStatus) []Withheld {
	inForce := map[string]bool{}
	for _, s := range list {
		if s.InForce && len(s.Reasons) == 0 {
			inForce[fullName(c.Name)+"."+s.Table] = true
		}
	}
	if len(inForce) == 0 {
		return withheld
	}
	var out []Withheld
	for _, w := range withheld {
		tables := slices.DeleteFunc(slices.Clone(w.Tables), func(name string) bool { return inForce[name] })
		w.Count -= len(w.Tables) - len(tables)
		if w.Tables = tables; w.Count > 0 {
			out = append(out, w)
		}
	}
	return out
}
