package views

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/filter/filtertest"
	"portcullis.dev/portcullis/connection/parts"
	"portcullis.dev/portcullis/internal/sqltext"
	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/policy"
)

const data = filtertest.Orders + `
CREATE ROLE account LOGIN PASSWORD 'account';
GRANT USAGE ON SCHEMA "Sales ""x""" TO portcullis_views;
GRANT SELECT ON "Sales ""x""".orders TO portcullis_views;
`

// bench is an instance with the table and some people.
type bench struct {
	pg      *testenv.Postgres
	root    *pgx.Conn
	account *pgx.Conn
	target  connection.Target
	table   Table
	rows    [][]*string
	people  []string
}

func newBench(tb testing.TB, major int) *bench {
	tb.Helper()
	b := &bench{pg: testenv.StartServer(tb, testenv.ServerOptions{Major: major}), people: []string{"ana", `Ben "x" O'Neil`, "chloe", "čeněk"}}
	b.target = connection.Target{Username: "account", Prefix: "portcullis_", Database: "postgres"}
	b.root = b.connect(tb, b.pg.User, b.pg.Password)
	b.exec(tb, "SET timezone = 'UTC'", "CREATE ROLE portcullis_views NOLOGIN", data, Script(b.target), Script(b.target))
	for _, p := range b.people {
		b.exec(tb, "CREATE ROLE "+sqltext.Identifier(p)+" LOGIN PASSWORD 'secret'")
	}
	b.account = b.connect(tb, "account", "account")
	b.table.HashKey = []byte("0123456789abcdef0123456789abcdef")
	b.table.Ref, b.table.Columns = filtertest.Table(tb, b.root)
	b.rows = b.read(tb, b.root, filtertest.Name)
	return b
}

func (b *bench) connect(tb testing.TB, user, password string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), b.pg.DSNAs(user, password, "postgres"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (b *bench) exec(tb testing.TB, statements ...string) {
	tb.Helper()
	for _, sql := range statements {
		if _, err := b.root.Exec(tb.Context(), sql); err != nil {
			tb.Fatalf("%s: %v", sql, err)
		}
	}
}

// read gives all rows as text, in the order of id as it is shown.
func (b *bench) read(tb testing.TB, conn *pgx.Conn, from string) [][]*string {
	tb.Helper()
	return filtertest.Texts(tb, conn, b.table.Columns, from)
}

func (b *bench) apply(tb testing.TB, tables ...Table) ([]Made, []parts.Refusal) {
	tb.Helper()
	out := b.outcome(tb, tables...)
	if len(out.Waiting) > 0 || out.Left {
		tb.Fatalf("waiting: %+v, left %t", out.Waiting, out.Left)
	}
	return out.Made, out.Refused
}

func noFence(context.Context) error { return nil }

func (b *bench) outcome(tb testing.TB, tables ...Table) Outcome {
	tb.Helper()
	out, err := Apply(tb.Context(), b.account, parts.Options{Target: b.target, Fence: noFence, Limit: time.Minute}, "postgres", tables)
	if err != nil {
		tb.Fatal(err)
	}
	for _, m := range out.Made { // what the grants engine does
		for _, r := range m.Roles {
			b.exec(tb, fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s.%s TO %s", sqltext.Identifier(m.View.Schema), sqltext.Identifier(r),
				sqltext.Identifier(m.View.Schema), sqltext.Identifier(m.View.Name), sqltext.Identifier(r)))
		}
	}
	return out
}

// expect is what the evaluator shows of the rows, canonically, sorted.
func (b *bench) expect(tb testing.TB, p Person) []string {
	tb.Helper()
	var err error
	maskers := make([]policy.Masker, len(b.table.Columns))
	for i, c := range b.table.Columns {
		if m, ok := p.Masks[c.Name]; ok {
			if maskers[i], err = m.Compile(c.Type); err != nil {
				tb.Fatal(err)
			}
		}
	}
	var shown [][]*string
	for _, row := range filtertest.Passing(tb, b.table.Columns, p.Filter, b.rows) {
		masked := slices.Clone(row)
		for i, m := range maskers {
			if m == nil {
				continue
			}
			var text []byte
			var null bool
			if row[i] == nil {
				text, null = m.AppendNull(nil)
			} else if text, null, err = m.Append(nil, []byte(*row[i])); err != nil {
				tb.Fatal(err)
			}
			masked[i] = nil
			if !null {
				s := string(text)
				masked[i] = &s
			}
		}
		shown = append(shown, masked)
	}
	return b.canonical(tb, shown)
}

func (b *bench) canonical(tb testing.TB, rows [][]*string) []string {
	tb.Helper()
	out := []string{}
	for _, row := range rows {
		var line []string
		for i, v := range row {
			if v == nil {
				line = append(line, "NULL")
				continue
			}
			text, err := policy.Canonical(b.table.Columns[i].Type, *v)
			if err != nil {
				tb.Fatal(err)
			}
			line = append(line, b.table.Columns[i].Name+"="+fmt.Sprintf("%q", text))
		}
		out = append(out, strings.Join(line, " "))
	}
	slices.Sort(out)
	return out
}

const viewName = `"policy_Sales ""x""".orders`

func TestMain(m *testing.M) { os.Exit(filtertest.Run(m)) }

func TestPeopleSeeWhatTheEvaluatorShows(t *testing.T) {
	for _, major := range testenv.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			b := newBench(t, major)
			sessions := map[string]*pgx.Conn{}
			for _, p := range b.people {
				sessions[p] = b.connect(t, p, "secret")
				if _, err := sessions[p].Exec(t.Context(), "SET timezone = 'UTC'"); err != nil {
					t.Fatal(err)
				}
			}
			rapid.Check(t, func(r *rapid.T) {
				table := b.table
				for _, role := range b.people {
					if rapid.IntRange(0, 4).Draw(r, "subscribed") > 0 {
						table.People = append(table.People, Person{Role: role, Filter: filtertest.Draw(r, b.table.Columns, b.rows, 3), Masks: drawMasks(r, b)})
					}
				}
				made, refused := b.apply(t, table)
				if len(made) != 1 {
					t.Fatalf("made %v, refused %v", made, refused)
				}
				without := map[string]bool{}
				for _, f := range refused {
					without[f.Role] = true
				}
				for _, p := range table.People {
					if without[p.Role] {
						continue
					}
					want, got := b.expect(t, p), b.canonical(t, b.read(t, sessions[p.Role], viewName))
					if !slices.Equal(want, got) {
						r.Fatalf("%s with filter %s and masks %+v\nwant %s\ngot  %s", p.Role, describe(p.Filter), p.Masks, strings.Join(want, "\n     "), strings.Join(got, "\n     "))
					}
				}
				for _, role := range b.people {
					if !slices.ContainsFunc(table.People, func(p Person) bool { return p.Role == role }) || without[role] {
						if _, err := b.root.Exec(t.Context(), "GRANT USAGE ON SCHEMA "+strings.TrimSuffix(viewName, ".orders")+" TO PUBLIC; GRANT SELECT ON "+viewName+" TO PUBLIC"); err != nil {
							t.Fatal(err)
						}
						if rows := b.read(t, sessions[role], viewName); len(rows) > 0 {
							r.Fatalf("%s is no longer wanted and sees %d rows", role, len(rows))
						}
					}
				}
			})
		})
	}
}

func describe(p *policy.Predicate) string {
	if p == nil {
		return "none"
	}
	var args []string
	for _, a := range p.Args {
		args = append(args, describe(a))
	}
	return fmt.Sprintf("%s(%s %s %v %s)", p.Op, p.Column, p.Other, p.Values, strings.Join(args, ", "))
}

func drawMasks(r *rapid.T, b *bench) map[string]policy.Mask {
	masks := map[string]policy.Mask{}
	for i, c := range b.table.Columns {
		if rapid.IntRange(0, 3).Draw(r, "masked") > 0 {
			continue
		}
		constant := b.rows[rapid.IntRange(0, len(b.rows)-1).Draw(r, "row")][i]
		nulls := rapid.SampledFrom([]policy.NullsMode{policy.NullsKeep, policy.NullsMask}).Draw(r, "nulls")
		m := rapid.SampledFrom([]policy.Mask{
			{Kind: policy.MaskNull}, {Kind: policy.MaskConstant, Constant: constant, Nulls: nulls}, {Kind: policy.MaskHash, Key: b.table.HashKey, Nulls: nulls},
			{Kind: policy.MaskRound, Base: "7"}, {Kind: policy.MaskRound, Base: "0.5"}, {Kind: policy.MaskRound, Base: "1000"},
			{Kind: policy.MaskTruncate, Unit: "year"}, {Kind: policy.MaskTruncate, Unit: "quarter"}, {Kind: policy.MaskTruncate, Unit: "week"}, {Kind: policy.MaskTruncate, Unit: "day"},
			{Kind: policy.MaskTruncate, Unit: "month"}, {Kind: policy.MaskTruncate, Unit: "hour"}, {Kind: policy.MaskTruncate, Unit: "day", Zone: "Europe/Berlin"}, {Kind: policy.MaskTruncate, Unit: "week", Zone: "America/New_York"},
		}).Draw(r, "mask")
		if m.Suits(c.Type) == nil && m.CheckNulls() == nil {
			masks[c.Name] = m
		}
	}
	return masks
}
