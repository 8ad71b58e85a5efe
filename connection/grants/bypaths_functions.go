package grants

import (
	"context"
	"regexp"
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

	sqlFunctions = `SELECT p.oid::regprocedure::text, p.pronamespace, p.proowner, ` + functionText + `, ` + functionDepends + `, ` + aclArrays + `
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, ` + aclLateral + `(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.privilege_type = 'EXECUTE') x
		WHERE p.prosecdef AND p.oid >= 16384 AND p.prorettype <> 'event_trigger'::regtype
			AND n.nspname <> 'portcullis_broker' LIMIT 10000`
	sqlTriggers = `SELECT t.tgrelid, t.tgtype::int, p.proowner, ` + functionText + `, ` + functionDepends + `
		FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE p.prosecdef AND p.oid >= 16384 AND NOT t.tgisinternal AND t.tgenabled <> 'D' LIMIT 10000`
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

// mentioned are the tables that a function names or depends on.
func (d *database) mentioned(text map[string]bool, depends []uint32) map[int32]bool {
	if d.byName == nil { // made at the first function: most databases have none
		d.byName = map[string][]int32{}
		for i, t := range d.tables {
			d.byName[t.ref.Name] = append(d.byName[t.ref.Name], int32(i))
		}
	}
	out := map[int32]bool{}
	for _, oid := range depends {
		if at, ok := d.byOID[oid]; ok && d.tables[at].class >= 0 {
			out[at] = true
		}
	}
	for w := range text {
		for _, at := range d.byName[w] {
			if d.tables[at].class >= 0 {
				out[at] = true
			}
		}
	}
	return out
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

func (d *database) addFunctions(ctx context.Context, conn *pgx.Conn, c *catalog) error {
	return each(ctx, conn, func(rows pgx.Rows) error {
		var name, source string
		var in, owner uint32
		var depends []uint32
		var acl aclColumns
		err := rows.Scan(append([]any{&name, &in, &owner, &source, &depends}, acl.targets()...)...)
		if err != nil {
			return err
		}
		for i := range acl.privileges {
			acl.privileges[i] = "SELECT"
		}
		entries, err := d.entries(&acl, "SELECT")
		if err != nil {
			return err
		}
		owner = d.owned(owner)
		text := words(source)
		for at := range d.mentioned(text, depends) {
			var does bits
			if d.can(c, owner, at, canSelect) {
				does |= byFunction
			}
			if writes(text) && d.can(c, owner, at, canInsert|canUpdate|canDelete|canTruncate) {
				does |= byWriter
			}
			if does == 0 {
				continue
			}
			k := d.own(at)
			for _, e := range entries {
				if e.grantee != owner {
					k.acl = append(k.acl, entry{grantee: e.grantee, grantor: e.grantor, bits: does, via: name, by: -1, owner: owner, schema: in})
				}
			}
		}
		return nil
	}, sqlFunctions)
}

// readTriggers finds the triggers of other relations that act on tables with
// the rights of their function's owner.
func (p *relationPaths) readTriggers(ctx context.Context, conn *pgx.Conn) error {
	return each(ctx, conn, func(rows pgx.Rows) error {
		var relation, owner uint32
		var events int32
		var source string
		var depends []uint32
		if err := rows.Scan(&relation, &events, &owner, &source, &depends); err != nil {
			return err
		}
		var need bits
		for event, b := range map[int32]bits{4: canInsert, 8: canDelete, 16: canUpdate, 32: canTruncate} {
			if events&event != 0 {
				need |= b
			}
		}
		for at := range p.d.mentioned(words(source), depends) {
			if oid := p.d.tables[at].ref.OID; oid != relation {
				p.act(relation, oid, p.d.owned(owner), need, byTrigger)
			}
		}
		return nil
	}, sqlTriggers)
}
