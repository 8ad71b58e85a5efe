package grants

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Functions that act with their owner's rights are ways to the tables that
// they mention, those of triggers too: whoever may execute one can hang it on a
// table of their own. Text that is put together at run time mentions nothing: such a
// function is found only if it depends on the table.

const (
	// A body of SQL itself is kept parsed, with what it depends on; only whether it writes is asked.
	functionText    = `p.prosrc || CASE WHEN p.prosqlbody::text ~ ':commandType [2-5]' THEN ' update' ELSE '' END`
	functionDepends = `ARRAY(SELECT d.refobjid FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass)`

	definers = ` WHERE p.prosecdef AND p.oid >= 16384 AND p.prorettype <> 'event_trigger'::regtype AND p.pronamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname = 'portcullis_broker')`

	sqlFunctions = `SELECT p.oid::regprocedure::text, p.pronamespace, p.proowner, ` + functionText + `, ` + functionDepends + `, ` + aclArrays + `
		FROM pg_proc p, ` + aclLateral + `(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.privilege_type = 'EXECUTE') x` + definers + ` ORDER BY p.oid`
	countFunctions = `SELECT count(*) FROM pg_proc p` + definers
)

var wordForm = regexp.MustCompile(`"(?:[^"]|"")+"|[\pL_][\pL\pN_$]*`)

// words are the identifiers in the text of a function.
func words(text string) map[string]bool {
	out := map[string]bool{}
	for _, w := range wordForm.FindAllString(text, -1) {
		if w[0] == '"' {
			out[strings.ReplaceAll(w[1:len(w)-1], `""`, `"`)] = true
		} else {
			out[strings.ToLower(w)] = true
		}
	}
	return out
}

// mentioned are the relations that a function names or depends on, tables of the
// policies and those that lead to others.
func (p *relationPaths) mentioned(f *functionBody) []uint32 {
	if f.mentions != nil {
		return f.mentions
	}
	if p.byName == nil { // made at the first function: most databases have none
		p.byName = map[string][]uint32{}
		for _, t := range p.d.tables {
			p.byName[t.ref.Name] = append(p.byName[t.ref.Name], t.ref.OID)
		}
		for oid, r := range p.relations {
			if _, ok := p.d.byOID[oid]; !ok {
				p.byName[r.name] = append(p.byName[r.name], oid)
			}
		}
	}
	f.mentions = slices.Clone(f.depends)
	for w := range f.words {
		f.mentions = append(f.mentions, p.byName[w]...)
	}
	slices.Sort(f.mentions)
	f.mentions = append([]uint32{}, slices.Compact(f.mentions)...)
	return f.mentions
}

// writes reports whether the text of a function may do more than read.
func writes(text map[string]bool) bool {
	for _, w := range []string{"insert", "update", "delete", "truncate", "merge", "copy", "execute"} {
		if text[w] {
			return true
		}
	}
	return false
}

// addFunctions adds what each function reaches with its owner's rights, by what
// it mentions and all that this leads to.
func (p *relationPaths) addFunctions(ctx context.Context, conn *pgx.Conn) error {
	p.steps = p.c.limits.Steps
	functions, cut := 0, 0
	err := p.d.bounded(ctx, conn, p.c.limits.Functions, "SECURITY DEFINER functions", func(rows pgx.Rows) error {
		var name, source string
		var in uint32
		f := &functionBody{}
		var acl aclColumns
		err := rows.Scan(append([]any{&name, &in, &f.owner, &source, &f.depends}, acl.targets()...)...)
		if err != nil {
			return err
		}
		for i := range acl.privileges {
			acl.privileges[i] = "SELECT"
		}
		entries, err := p.d.entries(&acl, "SELECT")
		if err != nil {
			return err
		}
		f.owner, f.words = p.d.owned(f.owner), words(source)
		does := canSelect
		if writes(f.words) {
			does = anything
		}
		w := p.newWalk()
		for _, relation := range p.mentioned(f) {
			w.visit(step{relation: relation, acting: f.owner, user: f.owner, later: f.owner, acted: true}, does)
		}
		functions++
		if !w.run() {
			cut++
		}
		for at, n := range w.noted {
			var through bits
			if n.acted&canSelect != 0 {
				through |= byFunction
			}
			if n.acted&^canSelect != 0 {
				through |= byWriter
			}
			if n.past {
				through |= pastRows
			}
			k := p.d.own(at)
			for _, e := range entries {
				if e.grantee != f.owner {
					k.acl = append(k.acl, entry{grantee: e.grantee, grantor: e.grantor, bits: through, via: name, by: -1, owner: f.owner, schema: in})
				}
			}
		}
		return nil
	}, sqlFunctions, countFunctions)
	p.tellCut(cut, functions, "SECURITY DEFINER functions")
	return err
}
