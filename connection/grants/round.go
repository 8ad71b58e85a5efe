package grants

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// view is an instance as read once, with what is wanted of it and the
// difference.
type view struct {
	cat    *catalog
	want   *wanted
	ledger map[string]MadeRole
	plan   *plan
	broken []*connection.Error // databases that could not be read, or a transaction that does not end
	within map[string]bool     // roles of the sets that were looked at; nil: all
}

// look reads the instance, for the roles of these sets or, where within is nil,
// all of it. A database that cannot be read is left out, and does not hold up
// the others.
func (e *Engine) look(ctx context.Context, s *sessions, want connection.Want, within map[string]bool) (*view, error) {
	v := &view{ledger: map[string]MadeRole{}, within: within}
	made, err := e.o.Ledger.Roles(ctx)
	if err != nil {
		return nil, fmt.Errorf("grants: the ledger: %w", err)
	}
	for _, m := range made {
		v.ledger[m.Name] = m
	}
	conn, err := s.get(ctx, e.o.Target.Database)
	if err != nil {
		return nil, err
	}
	unfinished, err := awaitUnfinished(ctx, conn)
	if err != nil {
		s.drop(e.o.Target.Database)
		return nil, err
	}
	if unfinished != nil {
		v.broken = append(v.broken, unfinished)
	}
	err = reading(ctx, conn, func() (err error) {
		v.cat, err = readInstance(ctx, conn, e.o.Target, v.ledger, within)
		return err
	})
	if err != nil {
		s.drop(e.o.Target.Database)
		return nil, err
	}
	v.cat.limits = e.o.Limits
	if v.want, err = number(want, e.o.Target.Prefix); err != nil {
		return nil, err
	}
	for _, name := range v.cat.elsewhere {
		v.want.database(name)
	}
	for _, d := range v.want.databases {
		if err := e.lookInto(ctx, s, v, d); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			s.drop(d.name)
			told := *asError(err)
			told.Message = fmt.Sprintf("database %s: %s", d.name, told.Message)
			v.broken = append(v.broken, &told)
			d.unread(told.Message)
		}
	}
	v.plan = compare(e.o.Target, v.cat, v.want, v.ledger, within)
	v.plan.spare(v)
	return v, nil
}

func (e *Engine) lookInto(ctx context.Context, s *sessions, v *view, d *database) error {
	row, ok := v.cat.listed[d.name]
	if !ok {
		return &connection.Error{Code: "unknown_database", Message: "there is no such database, or none that takes connections"}
	}
	d.databaseRow = row
	conn, err := s.get(ctx, d.name)
	if err != nil {
		return err
	}
	ours := make([]uint32, 0, len(v.ledger))
	for name, m := range v.ledger {
		if r := v.cat.names[name]; r != nil && m.Kind != RoleLogin && (v.within == nil || v.within[name]) {
			ours = append(ours, r.oid)
		}
	}
	err = reading(ctx, conn, func() error { return d.read(ctx, conn, v.cat, ours, e.o.Target.Mode, v.within == nil) })
	if d.broker != nil {
		s.drop(d.name) // what others wrote has run in it
	}
	return err
}

// reading runs f in one snapshot, in which no setting of the session, of the
// role or of what ran before counts. It is rolled back: what others wrote may have
// put something off to the commit, where it would run as the account.
func reading(ctx context.Context, conn *pgx.Conn, f func() error) error {
	if _, err := conn.PgConn().Exec(ctx, fmt.Sprintf("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog, pg_temp; "+
		"SET LOCAL statement_timeout = %d", longestPerRun.Milliseconds())).ReadAll(); err != nil {
		return remote("reading", err)
	}
	if err := f(); err != nil {
		return err // the session is dropped
	}
	_, err := conn.Exec(ctx, "ROLLBACK")
	return err
}

// unread empties a database of which the catalogs are not known.
func (d *database) unread(why string) {
	d.unreadable = true
	d.classes, d.strays, d.future, d.broker, d.schemas = nil, nil, nil, nil, nil
	for i := range d.tables {
		d.tables[i].class, d.tables[i].wrong = -1, why
	}
}

// spare keeps roles that may hold something in a database that could not be
// read, or that may be made yet, and the ways there: whether they are still wanted
// is not known.
func (p *plan) spare(v *view) {
	if len(v.broken) == 0 {
		return
	}
	p.drops, p.forget = nil, nil
	p.roles = slices.DeleteFunc(p.roles, func(c change) bool {
		return c.action == leaveRole && v.ledger[c.member].leadsBy(v.ledger[c.role])
	})
}

func (e *Engine) executor(s *sessions, v *view) *executor {
	x := &executor{o: e.o, sessions: s, version: v.cat.version, oids: map[string]uint32{}, brokers: v.cat.brokers(e.o.Target)}
	for name, r := range v.cat.names {
		x.oids[name] = r.oid
	}
	return x
}

// apply makes the changes of a plan, in its order: nobody reaches for a moment
// what neither the state before nor the one after gives.
func (e *Engine) apply(ctx context.Context, s *sessions, v *view) (*executor, error) {
	x := e.executor(s, v)
	p := v.plan
	for i := range p.announce {
		if p.announce[i].Made.IsZero() {
			p.announce[i].Made = e.o.Now()
		}
	}
	if err := e.o.Fence(ctx); err != nil {
		return nil, errors.Join(errLost, err)
	}
	if err := e.o.Ledger.Put(ctx, p.announce...); err != nil {
		return nil, fmt.Errorf("grants: the ledger: %w", err)
	}
	if err := e.o.Ledger.Forget(ctx, p.forget...); err != nil {
		return nil, fmt.Errorf("grants: the ledger: %w", err)
	}
	if err := x.makeRoles(ctx, p); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(p.tables)) {
		if err := x.run(ctx, name, x.known(p.tables[name])); err != nil {
			return nil, err
		}
	}
	for _, last := range [][]change{x.known(p.joins), p.drops} {
		if err := x.run(ctx, e.o.Target.Database, last); err != nil {
			return nil, err
		}
	}
	if err := x.retry(ctx); err != nil {
		return nil, err
	}
	var gone []string
	for _, c := range p.drops {
		if !x.failed(c) {
			gone = append(gone, c.role)
		}
	}
	if err := e.o.Ledger.Forget(ctx, gone...); err != nil {
		return nil, fmt.Errorf("grants: the ledger: %w", err)
	}
	return x, nil
}

func (x *executor) failed(c change) bool {
	return slices.ContainsFunc(x.failures, func(f failure) bool { return f.change.sql(x.version) == c.sql(x.version) })
}

// report tells how the instance stands, by its catalogs alone: what of the plan
// is left is pending, whatever came of the statements.
func (e *Engine) report(ctx context.Context, s *sessions, v *view, x *executor) (connection.Report, error) {
	var r connection.Report
	failures := map[string]*failure{}
	if x != nil {
		r.Applied, r.Drift = x.applied, x.drift
		for i := range x.failures {
			failures[x.failures[i].change.key(v.cat.version)] = &x.failures[i]
		}
	}
	p := v.planner(e.o.Target)
	others := &obstacles{view: v, planner: p, target: e.o.Target}
	var left []connection.Excess
	for _, c := range v.plan.changes() {
		if f := failures[c.key(v.cat.version)]; v.emptied(p, c, f) {
			x, err := e.leftBehind(ctx, s, v, c.role)
			if err != nil {
				return r, err
			}
			left = append(left, x)
			continue
		}
		if failures[c.key(v.cat.version)] == nil && others.again(c) {
			continue // it holds that: pending is to revoke it with what should not be there
		}
		r.Pending = append(r.Pending, e.pending(v, c, failures[c.key(v.cat.version)], others))
	}
	for _, f := range v.plan.refused {
		r.Pending = append(r.Pending, connection.Pending{Statement: "CREATE ROLE " + sqltext.Identifier(f.role), Since: e.since("CREATE ROLE " + sqltext.Identifier(f.role)), Error: f.err})
	}
	for _, err := range v.broken {
		r.Pending = append(r.Pending, connection.Pending{Statement: "-- " + err.Message, Since: e.since("-- " + err.Message), Error: err})
	}
	var err error
	if r.Lingering, err = e.lingering(ctx, s, v, x); err != nil {
		return r, err
	}
	e.o.Pending, e.o.Lingering = r.Pending, r.Lingering
	for _, reason := range slices.Sorted(maps.Keys(v.plan.lacking)) {
		r.Lacking = append(r.Lacking, lackingText(reason, v.plan.lacking[reason]))
	}
	st := evaluate(v, e.o.Target, e.o.MaxExcess, nil)
	r.Equal, r.Exceeds, r.Lacks, r.NotEnforceable, r.Excess = st.equal, st.exceeds, st.lacks, st.unenforceable, st.causes.list()
	for _, x := range foreignMembers(e.o.Target, v) {
		if !slices.ContainsFunc(r.Excess, func(known connection.Excess) bool { return known.Statement == x.Statement }) {
			r.Excess = append(r.Excess, x)
		}
	}
	r.Excess = append(r.Excess, publications(v)...)
	r.Excess = append(append(r.Excess, st.given.list()...), left...)
	cut := incomplete(v, &st)
	r.Excess, r.Incomplete = append(r.Excess, cut...), len(cut)
	r.Given = len(st.given.order)
	r.Unlimited = unlimited(r.Excess)
	return r, e.settle(ctx, v)
}

// settle remembers of which roles the catalogs say what is wanted.
func (e *Engine) settle(ctx context.Context, v *view) error {
	var settled []MadeRole
	if len(v.broken) > 0 {
		return nil
	}
	for name, digest := range v.plan.settled {
		if m, ok := v.ledger[name]; ok && v.plan.touched[name] == 0 && m.OID != 0 && m.Settled != digest {
			m.Settled = digest
			settled = append(settled, m)
		}
	}
	if len(settled) == 0 {
		return nil
	}
	slices.SortFunc(settled, func(a, b MadeRole) int { return cmp.Compare(a.Name, b.Name) })
	if err := e.o.Ledger.Put(ctx, settled...); err != nil {
		return fmt.Errorf("grants: the ledger: %w", err)
	}
	return nil
}

func (e *Engine) pending(v *view, c change, f *failure, others *obstacles) connection.Pending {
	text := c.sql(v.cat.version)
	p := connection.Pending{Statement: text, Revoke: c.revokes(), Since: e.since(text)}
	if f != nil {
		p.Error, p.Blocker = f.err, f.blocker
		if known := others.of(c, f.err); known != nil {
			p.Error = known
		}
	} else {
		p.Error = &connection.Error{Code: "no_effect", Message: "the catalogs do not show it yet",
			Hint: "It was changed back meanwhile, or the account may not do it; the next round tries again."}
	}
	return p
}

// since is when a statement became pending.
func (e *Engine) since(statement string) time.Time {
	for _, p := range e.o.Pending {
		if p.Statement == statement {
			return p.Since
		}
	}
	return e.o.Now()
}

// key names a change across plans; the marks of roles differ.
func (c change) key(version int) string {
	c.comment = ""
	return c.object.Database + "\x00" + c.sql(version)
}

func lackingText(reason string, tables []string) string {
	n := len(tables)
	if n > 3 {
		tables = append(slices.Clone(tables[:3]), fmt.Sprintf("and %d more", n-3))
	}
	return strings.Join(tables, ", ") + ": " + reason
}

// planner is one that answers who acts for us on what was read.
func (v *view) planner(t connection.Target) *planner {
	p := &planner{plan: v.plan, cat: v.cat, ledger: v.ledger, target: t, admins: map[string]uint32{}}
	p.asRole = p.rolesAs()
	return p
}

// foreignMembers are memberships in roles of ours that others granted and that
// only they can revoke.
func foreignMembers(t connection.Target, v *view) []connection.Excess {
	if v.cat.version < 160000 {
		return nil
	}
	var out []connection.Excess
	p := v.planner(t)
	judge := &evaluator{cat: v.cat, want: v.want}
	judge.findKept(t, v.ledger)
	for name, made := range v.ledger {
		now := v.cat.names[name]
		if now == nil || made.Kind == RoleLogin || now.oid != made.OID {
			continue
		}
		for _, m := range v.cat.members[now.oid] {
			if _, ours := p.revocable(m); ours || p.isMaker(m.member) {
				continue
			}
			member := v.cat.name(m.member)
			out = append(out, connection.Excess{Person: v.want.people[member], Role: member, Privilege: membershipText(m), Via: []string{name}, Grantor: v.cat.name(m.grantor),
				Statement: judge.revokeMembership(m)})
		}
	}
	slices.SortFunc(out, func(a, b connection.Excess) int { return cmp.Compare(a.Statement, b.Statement) })
	return out
}

// logins are the login roles that were made and are still there, and the names
// of those that are not.
func (v *view) logins(t connection.Target) (drops []change, gone []string) {
	p := v.planner(t)
	for _, name := range slices.Sorted(maps.Keys(v.ledger)) {
		made, now := v.ledger[name], v.cat.names[name]
		switch {
		case made.Kind != RoleLogin:
		case now != nil && p.ours(made, true, now):
			drops = append(drops, change{action: dropRole, as: p.maker(name), role: name})
		default:
			gone = append(gone, name)
		}
	}
	return drops, gone
}

// script prints a plan as psql would run it.
func (e *Engine) script(v *view) string {
	var b strings.Builder
	x := &executor{o: e.o, version: v.cat.version, oids: map[string]uint32{}}
	for name, r := range v.cat.names {
		x.oids[name] = r.oid
	}
	section := func(database string, list []change) {
		for batch := range slices.Chunk(list, transactionSize) {
			fmt.Fprintf(&b, "\\connect %s\n%s;\n", sqltext.Identifier(database), strings.ReplaceAll(begin(briefly), "; ", ";\n"))
			if e.o.Target.Mode == connection.ModeBroker {
				calls, _ := x.brokerCalls(batch) // of strings and numbers: always has a form
				for _, c := range calls {
					b.WriteString(c.sql + ";\n")
				}
			} else {
				as := ""
				for _, c := range batch {
					if c.as != as {
						as = c.as
						b.WriteString(actAs(as) + ";\n")
					}
					b.WriteString(strings.ReplaceAll(c.sql(v.cat.version), "; COMMENT", ";\nCOMMENT") + ";\n")
				}
			}
			b.WriteString("COMMIT;\n")
		}
	}
	section(e.o.Target.Database, v.plan.roles)
	for _, name := range slices.Sorted(maps.Keys(v.plan.tables)) {
		section(name, v.plan.tables[name])
	}
	section(e.o.Target.Database, v.plan.joins)
	section(e.o.Target.Database, v.plan.drops)
	for _, f := range v.plan.refused {
		fmt.Fprintf(&b, "-- refused: %s\n", f.err.Message)
	}
	return b.String()
}
