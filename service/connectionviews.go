package service

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/parts"
	"portcullis.dev/portcullis/connection/rows"
	"portcullis.dev/portcullis/connection/views"
	"portcullis.dev/portcullis/policy"
)

// ViewStatus is the view of a table through which people see a part of it.
type ViewStatus struct {
	Table  string   `json:"table"`
	View   string   `json:"view,omitempty"` // schema.name in the same database, "" where there is none
	People int      `json:"people"`         // who see their part through it
	Reason []string `json:"reasons,omitempty"`
	Fix    string   `json:"fix,omitempty"` // the statement that a DBA must run
}

// partially remembers that people may see a part of a table, where the connection
// has views. A view of a table shows what the table hides: from whom its kin hide
// more, none can be had.
func (w *wanting) partially(t *nativeTable, sh *shape, people []*policy.Person, a connection.Access) {
	if !w.connection.Views && !w.connection.RowSecurity {
		return
	}
	if w.partial == nil {
		w.partial = map[[16]byte]map[policy.PersonID]bool{}
	}
	if w.partial[t.id] == nil {
		w.partial[t.id] = map[policy.PersonID]bool{}
	}
	for _, p := range people {
		if w.besideShow(sh, p) {
			w.partial[t.id][p.PersonID] = w.partial[t.id][p.PersonID] || a == connection.Write
			continue
		}
		name, reason := fullName(t.ref.Database, t.ref.Schema, t.ref.Name), w.besideReason(sh, p)
		at := slices.IndexFunc(w.unviewed, func(v ViewStatus) bool { return v.Table == name })
		if at < 0 && len(w.unviewed) < maxListed {
			at = len(w.unviewed)
			w.unviewed = append(w.unviewed, ViewStatus{Table: name})
		}
		if at >= 0 && len(w.unviewed[at].Reason) < maxExamples && !slices.Contains(w.unviewed[at].Reason, reason) {
			w.unviewed[at].Reason = append(w.unviewed[at].Reason, reason)
		}
	}
}

// showParts asks the evaluator what each of these people sees of their tables, to be
// shown by views or by row-level security.
func (w *wanting) showParts(ctx context.Context, q querier, key []byte, subscriptions map[[16]byte][]policy.Subscription, d *desired) error {
	if len(w.partial) == 0 {
		return nil
	}
	var ids [][16]byte
	for i := range w.tables.list {
		if t := &w.tables.list[i]; w.partial[t.id] != nil {
			ids = append(ids, t.id)
		}
	}
	columns, err := allColumns(ctx, q, ids, w.followed)
	if err != nil {
		return err
	}
	plain, err := plainTables(ctx, q, ids)
	if err != nil {
		return err
	}
	d.views, d.rows = map[string][]views.Table{}, map[string][]rows.Table{}
	for i := range w.tables.list {
		t := &w.tables.list[i]
		if w.partial[t.id] == nil {
			continue
		}
		ds := t.dataSource(w.connection.Name)
		ds.Columns = columns[t.id]
		mac := hmac.New(sha256.New, key)
		_, _ = mac.Write(t.id[:]) // a hash takes everything
		ds.HashKey = mac.Sum(nil)
		own := ds.Columns
		ds, policies := inheriting(ds, w.sources(w.tables.kin.ancestors(t)), w.policies)
		_, hasKin := w.kinShape[t]
		p := parted{table: t, hashKey: ds.HashKey, isPlain: plain[t.id] && !hasKin}
		for _, c := range own {
			p.columns = append(p.columns, c.Column)
		}
		for _, id := range sortedPeople(w.partial[t.id]) {
			decision := policy.Evaluate(policy.Question{Person: w.people[id], DataSource: ds, DataSourceID: ds.ID, Subscriptions: subscriptions[t.id], Policies: policies, Now: w.now})
			if decision.Allowed {
				p.people, p.decided = append(p.people, id), append(p.decided, decision)
				p.isMasked = p.isMasked || len(decision.Masks) > 0
			}
		}
		if len(p.people) == 0 {
			continue
		}
		if table, ok := w.rowsOf(p); ok {
			d.rows[t.ref.Database] = append(d.rows[t.ref.Database], table)
		} else if w.connection.Views {
			d.views[t.ref.Database] = append(d.views[t.ref.Database], w.viewOf(p))
		}
	}
	return nil
}

func (w *wanting) viewOf(p parted) views.Table {
	table := views.Table{Ref: p.table.ref, HashKey: p.hashKey, Columns: p.columns}
	for i, id := range p.people {
		table.People = append(table.People, views.Person{Role: w.roles[id], Filter: p.decided[i].Filter, Masks: p.decided[i].Masks})
	}
	return table
}

func sortedPeople(set map[policy.PersonID]bool) []policy.PersonID {
	list := make([]policy.PersonID, 0, len(set))
	for id := range set {
		list = append(list, id)
	}
	slices.SortFunc(list, comparePeople)
	return list
}

// viewKey is the key that hash masks of a connection's views are derived from, made at first need.
func (s *Store) viewKey(ctx context.Context, connectionID string) ([]byte, error) {
	var sealed *string
	if err := s.pool.QueryRow(ctx, "SELECT sealed_hash_key FROM portcullis.connections WHERE id = $1", connectionID).Scan(&sealed); err != nil {
		return nil, err
	}
	if sealed == nil {
		key := make([]byte, sha256.Size)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		text, err := s.key.Seal(key)
		if err != nil {
			return nil, err
		}
		if err := s.pool.QueryRow(ctx, "UPDATE portcullis.connections SET sealed_hash_key = coalesce(sealed_hash_key, $2) WHERE id = $1 RETURNING sealed_hash_key", connectionID, text).Scan(&sealed); err != nil {
			return nil, err
		}
	}
	return s.key.Unseal(*sealed)
}

// viewsOf is what a loop remembers of a database whose views are as they were wanted.
type viewsOf struct {
	wanted  string // digest
	outcome views.Outcome
}

// viewPatience is how long a round waits for those who hold views, in all
// databases together: revokes come after that.
const viewPatience = 200 * time.Millisecond

// applyViews makes the views equal to what is wanted and adds the sets of those
// who may query them. Where they cannot be made nobody sees anything, and what
// failed is pending: it must not hold up revokes. Databases where nothing else is wanted
// than last time are left alone, unless the round looks anew. The error is for what ends the round.
func (l *connectionLoop) applyViews(ctx context.Context, target connection.Target, open func(context.Context, string) (*pgx.Conn, error), d *desired, anew bool) (failed []connection.Pending, err error) {
	databases, err := l.standingIn(ctx, slices.Collect(maps.Keys(d.views)), &l.memory.status.ViewsIn)
	if err != nil {
		return nil, err
	}
	m := &l.memory
	m.viewsLeft = false
	m.status.Views = slices.Clone(d.unviewed)
	patience := viewPatience
	for _, database := range databases {
		wanted := viewsDigest(d.views[database])
		known, ok := m.views[database]
		if anew || !ok || known.wanted != wanted {
			delete(m.views, database)
			known.outcome, err = l.databaseViews(ctx, target, open, database, d.views[database], patience)
			if ctx.Err() != nil || errors.Is(err, errLease) {
				return nil, err
			}
			if err != nil {
				failed = append(failed, l.viewsPending(fmt.Sprintf("-- views in database %q", database), err))
				continue
			}
		}
		out := known.outcome
		patience = max(patience-out.Waited, time.Millisecond)
		failed = append(failed, l.unfinished(out.Outcome, "views", database)...)
		if len(out.Waiting) == 0 && !out.Left {
			known.outcome.Waited = 0
			m.views[database] = viewsOf{wanted: wanted, outcome: known.outcome}
		}
		if out.Empty && len(d.views[database]) == 0 {
			m.status.ViewsIn = slices.DeleteFunc(m.status.ViewsIn, func(name string) bool { return name == database })
		}
		l.takeViews(database, out, d)
	}
	m.status.Views = firstOf(m.status.Views, maxListed)
	return failed, nil
}

// takeViews adds the sets of the views of a database, and says how they stand.
func (l *connectionLoop) takeViews(database string, out views.Outcome, d *desired) {
	of := func(ref connection.ObjectRef) *ViewStatus {
		name := fullName(ref.Database, ref.Schema, ref.Name)
		return entry(&l.memory.status.Views, func(s ViewStatus) bool { return s.Table == name }, ViewStatus{Table: name})
	}
	for _, m := range out.Made {
		d.want.Sets = append(d.want.Sets, viewSet(database, m))
		s := of(m.Base)
		s.View, s.People = fullName(m.View.Schema, m.View.Name), len(m.Roles)
	}
	for _, r := range out.Refused {
		s := of(r.Table)
		s.Reason, s.Fix = append(s.Reason, r.String()), r.Fix
	}
}

// entry is that of a list, which gets it if it has none.
func entry[T any](list *[]T, is func(T) bool, added T) *T {
	at := slices.IndexFunc(*list, is)
	if at < 0 {
		at = len(*list)
		*list = append(*list, added)
	}
	return &(*list)[at]
}

// viewSet is who may query a view.
func viewSet(database string, m views.Made) connection.AccessSet {
	return connection.AccessSet{ID: fmt.Sprintf("view:%s:%d", database, m.Base.OID), Access: connection.Read, Tables: []connection.ObjectRef{m.View}, Members: m.Roles}
}

// viewsPending tells of views that could not be made equal, since when.
func (l *connectionLoop) viewsPending(statement string, err error) connection.Pending {
	p := connection.Pending{Statement: statement, Since: l.c.now(), Error: asInstanceError(err)}
	for _, before := range l.memory.status.Pending {
		if before.Statement == p.Statement {
			p.Since = before.Since
		}
	}
	return p
}

// stillWaiting tells of views or policies that somebody's lock holds up, since when.
func (l *connectionLoop) stillWaiting(list []connection.Pending) (pending []connection.Pending) {
	for _, w := range list {
		p := l.viewsPending(w.Statement, w.Error)
		p.Blocker = w.Blocker
		pending = append(pending, p)
	}
	return pending
}

// unfinished tells what is still to be made in a database.
func (l *connectionLoop) unfinished(out parts.Outcome, what, database string) []connection.Pending {
	pending := l.stillWaiting(out.Waiting)
	if out.Left {
		l.memory.viewsLeft = true
		pending = append(pending, l.viewsPending(fmt.Sprintf("-- further %s in database %q", what, database), &connection.Error{Code: "under_way", Message: "they are being made"}))
	}
	return pending
}

// standingIn are the databases in which views, or policies, are wanted or may stand
// from before, as noted. They are noted before anything is made there, so that what is no longer
// wanted is found again, whatever failed meanwhile.
func (l *connectionLoop) standingIn(ctx context.Context, names []string, noted *[]string) ([]string, error) {
	if len(names) == 0 && len(*noted) == 0 {
		return nil, nil
	}
	rows, err := l.c.store.pool.Query(ctx, "SELECT name FROM portcullis.connection_objects WHERE connection = $1 AND level = 'database' AND dropped IS NULL", l.id)
	if err != nil {
		return nil, err
	}
	there, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	for _, name := range *noted {
		if slices.Contains(there, name) {
			names = append(names, name)
		} else {
			names = append(names, there...) // it may have another name now
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if slices.Equal(names, *noted) {
		return names, nil
	}
	*noted = slices.Clone(names)
	return names, l.c.store.storeStatus(ctx, l.id, l.memory.status, nil, nil)
}

func (l *connectionLoop) databaseViews(ctx context.Context, target connection.Target, open func(context.Context, string) (*pgx.Conn, error), database string, tables []views.Table, patience time.Duration) (views.Outcome, error) {
	conn, err := open(ctx, database)
	if err != nil {
		return views.Outcome{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	o := l.partsOptions(target)
	o.Patience = patience
	return views.Apply(ctx, conn, o, database, tables)
}

func (l *connectionLoop) partsOptions(target connection.Target) parts.Options {
	return parts.Options{Target: target, Fence: func(ctx context.Context) error { return l.c.store.checkLease(ctx, l.id, l.fence) }}
}

// viewsDigest tells whether two rounds want the same views, of a database or of all.
func viewsDigest(tables any) string {
	h := sha256.New()
	_ = json.NewEncoder(h).Encode(tables) // a hash takes everything
	return string(h.Sum(nil))
}
