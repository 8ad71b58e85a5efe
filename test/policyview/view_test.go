// Package policyview holds the test that a governed session's answers are a
// function of its policy view: random policies, and random queries on the
// tables as a person sees them and on tables that hold just that.
package policyview

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/service"
	"portcullis.dev/portcullis/test/world"
)

var (
	seed    = flag.Uint64("seed", 1, "of the data, the policies and the queries")
	states  = flag.Int("states", 5, "how many sets of policies")
	queries = flag.Int("queries", 15, "how many queries of a person on a source under one set of policies")
)

type view struct {
	*world.World
	t      *testing.T
	rng    *rand.Rand
	admin  *pgx.Conn
	typeOf map[string]map[string]string // of columns, by kind of source
	asked  int
	failed int // queries that fail as they should
}

func TestAnswersAreThoseOfThePolicyView(t *testing.T) {
	t.Logf("-seed %d -states %d -queries %d", *seed, *states, *queries)
	v := &view{World: world.Start(t, world.Options{}), t: t, rng: rand.New(rand.NewPCG(*seed, 7)), typeOf: map[string]map[string]string{}}
	admin, err := pgx.Connect(t.Context(), v.DSN(testenv.EngineDatabase))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.WithoutCancel(t.Context()))
	v.admin = admin
	v.furnish()
	sessions := map[string]*pgx.Conn{}
	for _, p := range []string{world.Hera, world.Eve, world.Max, world.Exempt} {
		sessions[p] = v.Login(t, p)
	}
	for range *states {
		r := draw(v.rng)
		v.apply(r)
		for i := range r.people {
			for _, s := range v.Sources {
				if v.compare(r, &r.people[i], s, sessions[r.people[i].UserID]); t.Failed() {
					return
				}
			}
		}
		// To whom no policy applies, the view is the raw data.
		for _, s := range v.Sources {
			if v.compare(&rules{}, &service.Person{UserID: world.Exempt}, s, sessions[world.Exempt]); t.Failed() {
				return
			}
		}
	}
	t.Logf("%d queries, %d of them fail as they should", v.asked, v.failed)
	if v.failed == 0 || v.failed > v.asked/10 {
		t.Errorf("%d of %d queries fail, which compares nothing", v.failed, v.asked)
	}
}

// furnish makes the tables at the sources, and the raw rows here.
func (v *view) furnish() {
	data := []service.DataSource{}
	for _, s := range v.Sources {
		if err := s.Exec(v.t.Context(), script(s, v.rng)); err != nil {
			v.t.Fatal(err)
		}
		d := service.DataSource{Name: "things_" + s.Kind, Source: s.Name, RemoteTable: "things", Discoverable: true}
		if s.Kind == "pg" {
			d.RemoteSchema = s.Schema
		}
		data = append(data, d)
	}
	if err := v.Call(v.t.Context(), http.MethodPost, "/v1/state", service.State{DataSources: &data, Policies: &[]service.Policy{}}, nil); err != nil {
		v.t.Fatal(err)
	}
	if err := v.WaitSynced(v.t.Context()); err != nil {
		v.t.Fatal(err)
	}
	v.exec("CREATE SCHEMA model")
	for _, s := range v.Sources {
		v.exec(fmt.Sprintf("CREATE TABLE model.raw_%s AS SELECT * FROM immuta.things_%[1]s", s.Kind))
		v.typeOf[s.Kind] = map[string]string{}
		got, err := v.admin.Query(v.t.Context(), "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0", "immuta.things_"+s.Kind)
		if err != nil {
			v.t.Fatal(err)
		}
		var name, typ string
		if _, err := pgx.ForEachRow(got, []any{&name, &typ}, func() error { v.typeOf[s.Kind][name] = typ; return nil }); err != nil {
			v.t.Fatal(err)
		}
	}
}

// apply makes the service hold the policies and waits until the engine knows.
func (v *view) apply(r *rules) {
	named := []service.Group{}
	for _, g := range groups {
		named = append(named, service.Group{Name: g})
	}
	people := append([]service.Person{{UserID: world.Dan}}, r.people...)
	state := service.State{Groups: &named, People: &people, Policies: &r.policies}
	if err := v.Call(v.t.Context(), http.MethodPost, "/v1/state", state, nil); err != nil {
		v.t.Fatal(err)
	}
	var at service.Status
	if err := v.Call(v.t.Context(), http.MethodGet, "/v1/status", nil, &at); err != nil {
		v.t.Fatal(err)
	}
	err := world.Until(v.t.Context(), 10*time.Second, func() (bool, error) {
		var version int64
		err := v.admin.QueryRow(v.t.Context(), "SELECT value::bigint FROM immutasys.status() WHERE name = 'policy.version'").Scan(&version)
		return version >= at.Version, err
	})
	if err != nil {
		v.t.Fatal(err)
	}
}

// compare asks a person's session and the model the same.
func (v *view) compare(r *rules, p *service.Person, s *world.Source, session *pgx.Conn) {
	v.learnHashes(r, p, s, session)
	v.exec("DROP TABLE IF EXISTS model.seen; CREATE TABLE model.seen AS " + r.view(p, "model.raw_"+s.Kind, "model.hashes", v.typeOf[s.Kind]) + "; ANALYZE model.seen")
	for range *queries {
		query := asker{v.rng}.query()
		theirs := asker{v.rng}.manner(of(query, "immuta.things_"+s.Kind, "immuta.things_"+s.Kind))
		got, err := v.answer(session, theirs)
		if err != nil {
			_, _ = v.answer(session, "ROLLBACK; DEALLOCATE ALL; RESET ALL")
		}
		want, wantErr := v.answer(v.admin, of(query, "model.seen", "model.seen"))
		v.asked++
		if wantErr != nil {
			v.failed++
		}
		if state(err) != state(wantErr) || got != want {
			v.t.Errorf("%s on %s, %s\ngives (%v)\n%s\nwant (%v)\n%s\nunder %s", p.UserID, s.Kind, theirs, err, got, wantErr, want, r.told(p))
			return
		}
	}
}

// learnHashes takes the hashes from what the person is shown, after it has
// looked whether they are as equal and as missing as the raw values.
func (v *view) learnHashes(r *rules, p *service.Person, s *world.Source, session *pgx.Conn) {
	v.exec("DROP TABLE IF EXISTS model.hashes; CREATE TABLE model.hashes (id bigint, region text, contact text)")
	list := r.hashed(p)
	if len(list) == 0 {
		return
	}
	got, err := session.Query(v.t.Context(), "SELECT id, "+strings.Join(list, ", ")+" FROM immuta.things_"+s.Kind, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		v.t.Fatal(err)
	}
	values, err := pgx.CollectRows(got, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
	if err != nil {
		v.t.Fatal(err)
	}
	if _, err := v.admin.CopyFrom(v.t.Context(), pgx.Identifier{"model", "hashes"}, append([]string{"id"}, list...), pgx.CopyFromRows(values)); err != nil {
		v.t.Fatal(err)
	}
	for _, c := range list {
		missing := "raw.%[1]s IS NULL"
		if m := r.masks[c][0].policy.Mask; m.Nulls != "" {
			missing = "false"
		}
		var wrong int
		err := v.admin.QueryRow(v.t.Context(), fmt.Sprintf(`WITH h AS (SELECT hashes.%[1]s AS hash, raw.%[1]s AS raw, `+missing+` AS missing FROM model.hashes JOIN model.raw_%[2]s raw USING (id))
			SELECT count(*) FROM h a, h b WHERE a.missing <> (a.hash IS NULL) OR a.hash !~ '^[0-9a-f]{64}$'
			OR NOT a.missing AND NOT b.missing AND (a.hash = b.hash) <> (a.raw COLLATE "C" IS NOT DISTINCT FROM b.raw COLLATE "C")`, c, s.Kind)).Scan(&wrong)
		if err != nil || wrong > 0 {
			v.t.Fatalf("%s on %s: %d pairs of hashes of %s are wrong: %v", p.UserID, s.Kind, wrong, c, err)
		}
	}
}

// answer is the rows, sorted, as text.
func (v *view) answer(conn *pgx.Conn, sql string) (string, error) {
	lines, err := world.Lines(v.t.Context(), conn, sql)
	sort.Strings(lines)
	return strings.Join(lines, "\n"), err
}

func (v *view) exec(sql string) {
	v.t.Helper()
	if _, err := v.admin.Exec(v.t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		v.t.Fatalf("%s: %v", sql, err)
	}
}

// state is the SQLSTATE of an error, or what it says where it has none.
func state(err error) string {
	if code := world.Code(err); code != "" || err == nil {
		return code
	}
	return err.Error()
}

// told is the policies of a person, for who has to find a fault.
func (r *rules) told(p *service.Person) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: groups %v, attributes %v\n", p.UserID, p.Groups, p.Attributes)
	for _, c := range columns {
		if meant := r.shown(p, c.name); meant != "" {
			fmt.Fprintf(&b, "%s is shown as %s\n", c.name, meant)
		}
	}
	for _, f := range r.filters {
		if holds(f.policy.Except, p) != 1 {
			fmt.Fprintf(&b, "rows: %s, which is %s\n", f.policy.Filter, f.sql(p))
		}
	}
	return b.String()
}
