// Package attack tries what THREATS names, by real sessions on real sources.
package attack

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/test/world"
)

// transcripts of one probe: by who types and by state of the data.
type transcripts struct {
	governed, control [len(states)]*world.Transcript
}

// lab is a world with what attackers and controls need.
type lab struct {
	*world.World
	t *testing.T
}

// TestAttacks types every probe on every source.
func TestAttacks(t *testing.T) {
	l := &lab{World: world.Start(t, world.Options{}), t: t}
	l.share()
	if _, err := l.Login(t, l.User).Exec(t.Context(), "SELECT 'known to others'"); err != nil {
		t.Fatal(err)
	}
	results := make([]map[string]*transcripts, len(l.Sources))
	for i := range results {
		results[i] = map[string]*transcripts{}
	}
	for state := range states {
		l.fill(state)
		for _, s := range l.Sources {
			t.Run(fmt.Sprintf("view %s %d", s.Kind, state), func(t *testing.T) { l.checkView(t, s) })
		}
		g, ctx := errgroup.WithContext(t.Context())
		for i, s := range l.Sources {
			g.Go(func() error { return l.typeAll(ctx, results[i], s, state) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range classes() {
		t.Run(c.name, func(t *testing.T) {
			for _, p := range c.probes {
				for i, s := range l.Sources {
					if r := results[i][key(c, p)]; r != nil {
						t.Run(p.name+"/"+s.Kind, func(t *testing.T) { judge(t, p, r) })
					}
				}
			}
		})
	}
}

func key(c class, p probe) string { return c.name + "/" + p.name }

// typeAll types every probe on one source.
func (l *lab) typeAll(ctx context.Context, results map[string]*transcripts, s *world.Source, state int) error {
	for _, c := range classes() {
		for _, p := range c.probes {
			if !p.fits(s) {
				continue
			}
			r := results[key(c, p)]
			if r == nil {
				r = &transcripts{}
				results[key(c, p)] = r
			}
			if err := l.run(ctx, r, s, p, state); err != nil {
				return fmt.Errorf("%s on %s: %w", key(c, p), s.Kind, err)
			}
		}
	}
	return nil
}

// fits: what names no source is typed once.
func (p probe) fits(s *world.Source) bool {
	names := slices.ContainsFunc(p.sql, func(sql string) bool { return strings.Contains(sql, "{") })
	return names || s.Kind == "pg"
}

// share makes what an exempt person and a superuser left for others to use.
func (l *lab) share() {
	l.t.Helper()
	sql := "CREATE EXTENSION dblink SCHEMA public; CREATE EXTENSION postgres_fdw SCHEMA public; GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO eve, exa;" +
		"CREATE SCHEMA shared; GRANT USAGE ON SCHEMA shared TO PUBLIC; GRANT ALL ON SCHEMA shared TO exa; GRANT USAGE ON SCHEMA immuta TO portcullis_exempt;"
	for _, s := range l.Sources {
		sql += strings.NewReplacer("{n}", s.Data, "{t}", s.Local(), "{server}", s.Name, "{remote}", s.Remote, "{uuid}", s.ID).Replace(`
			GRANT USAGE ON FOREIGN SERVER {server} TO eve, exa;
			GRANT SELECT ON {t} TO exa, portcullis_exempt;
			CREATE FUNCTION shared.superpeek_{n}() RETURNS SETOF {t} LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM {t}';
			CREATE VIEW shared.superview_{n} AS SELECT * FROM {t};
			GRANT SELECT ON shared.superview_{n} TO PUBLIC;
			CREATE TABLE shared.parted_{n} (LIKE {t}) PARTITION BY LIST (dept);
			CREATE FOREIGN TABLE shared.part_{n} PARTITION OF shared.parted_{n} DEFAULT SERVER {server} OPTIONS ({remote}, data_source '{uuid}');
			GRANT SELECT ON shared.parted_{n}, shared.part_{n} TO PUBLIC;
			SET ROLE exa;
			CREATE FUNCTION shared.peek_{n}() RETURNS SETOF {t} LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM {t}';
			CREATE FUNCTION shared.chain_{n}() RETURNS SETOF {t} LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM shared.superpeek_{n}()';
			CREATE FUNCTION shared.tell_{n}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
				$$ BEGIN NEW.line := (SELECT string_agg(concat(salary, ssn, note), ',' ORDER BY id) FROM {t}); RAISE NOTICE '%', NEW.line; RETURN NEW; END $$;
			CREATE VIEW shared.view_{n} AS SELECT * FROM {t};
			GRANT SELECT ON shared.view_{n} TO PUBLIC;
			RESET ROLE;`)
	}
	if err := l.Exec(l.t.Context(), testenv.EngineDatabase, sql); err != nil {
		l.t.Fatal(err)
	}
}

// fill gives every source a state, and the superuser a local copy with statistics.
func (l *lab) fill(state int) {
	l.t.Helper()
	ctx := l.t.Context()
	for _, s := range l.Sources {
		if err := s.Exec(ctx, fill(s.Table, states[state], s.Backslashes)); err != nil {
			l.t.Fatal(err)
		}
	}
	sql := `DROP TABLE IF EXISTS public.control_copy;
		CREATE TABLE public.control_copy AS SELECT * FROM immuta.staff_pg, generate_series(1, 10);
		CREATE STATISTICS public.control_copy_together (mcv) ON dept, salary FROM public.control_copy; ANALYZE public.control_copy;`
	for _, s := range l.Sources {
		sql += strings.NewReplacer("{n}", s.Data, "{t}", s.Local()).Replace(`
			ANALYZE {t}; SELECT immutasys.analyze('{t}');
			DROP TABLE IF EXISTS shared.copy_{n}, shared.fenced_{n};
			CREATE TABLE shared.copy_{n} AS SELECT * FROM {t}; ALTER TABLE shared.copy_{n} OWNER TO exa;
			CREATE TABLE shared.fenced_{n} AS SELECT * FROM {t}; ALTER TABLE shared.fenced_{n} ENABLE ROW LEVEL SECURITY;
			CREATE POLICY fence ON shared.fenced_{n} USING (dept = 'sales'); GRANT SELECT ON shared.fenced_{n} TO exa;`)
	}
	if err := l.Exec(ctx, testenv.EngineDatabase, sql); err != nil {
		l.t.Fatal(err)
	}
}

// checkView: without rows that the governed person does get, refusals would prove nothing.
func (l *lab) checkView(t *testing.T, s *world.Source) {
	got, err := world.Type(t.Context(), l.As(world.Eve), "SELECT id, dept, salary, ssn, phone, born::date, note FROM "+s.Local()+" ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(got.Lines[1:], "\n"); text != view+"\nSELECT 3" {
		t.Errorf("eve sees\n%s\nwant\n%s", text, view)
	}
}

// run types a probe as the governed person and as its control.
func (l *lab) run(ctx context.Context, r *transcripts, s *world.Source, p probe, state int) (err error) {
	if r.governed[state], err = l.typeAs(ctx, world.Eve, s, p); err != nil {
		return err
	}
	if p.shows != "" && state > 0 {
		return nil // what the control sees in one state is enough
	}
	control := world.Exempt
	if p.control == "superuser" {
		control = l.User
	}
	r.control[state], err = l.typeAs(ctx, control, s, p)
	return err
}

var mine = regexp.MustCompile(`\bmine\b`)

func (l *lab) typeAs(ctx context.Context, role string, s *world.Source, p probe) (*world.Transcript, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	schema := "mine_" + role + "_" + s.Kind
	if err := l.Exec(ctx, testenv.EngineDatabase, fmt.Sprintf("DROP SCHEMA IF EXISTS %s CASCADE; CREATE SCHEMA %[1]s AUTHORIZATION %s", schema, role)); err != nil {
		return nil, err
	}
	table := s.Local()
	if role != world.Eve && (p.control == "copy" || p.control == "fenced") {
		table = "shared." + p.control + "_" + s.Data
	}
	fillIn := strings.NewReplacer("{t}", table, "{dsn}", l.As(role),
		"{back}", fmt.Sprintf("host '%s', port '%d', dbname '%s'", l.Host, l.Port, testenv.EngineDatabase),
		"{self}", fmt.Sprintf("user '%s', password '%s'", role, l.PasswordOf(role)), "{n}", s.Data, "{server}", s.Name, "{remote}", s.Remote, "{uuid}", s.ID, "{rschema}", s.Schema)
	statements := make([]string, len(p.sql))
	for i, sql := range p.sql {
		statements[i] = mine.ReplaceAllString(fillIn.Replace(sql), schema)
	}
	return world.Type(ctx, l.As(role), statements...)
}

func judge(t *testing.T, p probe, r *transcripts) {
	if os.Getenv("PORTCULLIS_SHOW_TRANSCRIPTS") != "" {
		defer t.Logf("governed:\n%s\ncontrol:\n%s\n%s", r.governed[0], r.control[0], r.control[1])
	}
	for state, g := range r.governed {
		code := ""
		if g.Err != nil {
			code = g.Err.Code
		}
		if code != p.refused {
			t.Errorf("state %d: refused with %q, want %q:\n%s", state, code, p.refused, g)
		}
		text := g.String()
		if p.shows != "" && regexp.MustCompile(p.shows).MatchString(output(g)) {
			t.Errorf("the governed person sees %q:\n%s", p.shows, text)
		}
		for _, word := range secrets() {
			if strings.Contains(output(g), word) {
				t.Errorf("state %d: the governed person reads %q:\n%s", state, word, text)
			}
		}
	}
	if a, b := r.governed[0].String(), r.governed[1].String(); a != b {
		t.Errorf("hidden data changes what the governed person sees:\n%s\n-----\n%s", a, b)
	}
	switch {
	case controls[p.control] == "":
		t.Errorf("there is no control %q", p.control)
	case p.shows != "":
		if !regexp.MustCompile(p.shows).MatchString(output(r.control[0])) {
			t.Errorf("the probe proves nothing, its control does not see %q:\n%s", p.shows, r.control[0])
		}
	case r.control[0].String() == r.control[1].String():
		t.Errorf("the probe proves nothing, its control sees no difference:\n%s", r.control[0])
	}
}

// output is a transcript without what was typed.
func output(t *world.Transcript) string {
	var lines []string
	for _, line := range t.Lines {
		if !strings.HasPrefix(line, "> ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}
