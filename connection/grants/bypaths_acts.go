package grants

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// What writes a relation may act on others: its rules with the rights of its
// owner, triggers with those of their function's owner or of whoever writes, and
// foreign keys that refer to it with those of the owner of the table that refers.

const (
	sqlRules = `SELECT r.ev_class, c.relowner, r.ev_type::text, ARRAY(SELECT DISTINCT d.refobjid FROM pg_depend d WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
				AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class AND d.refobjid >= 16384)
		FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE r.ev_type <> '1' AND r.ev_enabled <> 'D' AND r.ev_class >= 16384`
	// Many triggers call the same function: texts are read once.
	ofTriggers            = ` FROM pg_proc p WHERE p.oid >= 16384 AND p.oid IN (SELECT tgfoid FROM pg_trigger WHERE NOT tgisinternal)`
	sqlTriggerFunctions   = `SELECT p.oid, p.proowner, p.prosecdef, ` + functionText + `, ` + functionDepends + ofTriggers + ` ORDER BY p.oid`
	countTriggerFunctions = `SELECT count(*)` + ofTriggers
	sqlTriggers           = `SELECT t.tgrelid, t.tgtype::int, t.tgfoid FROM pg_trigger t WHERE t.tgfoid >= 16384 AND NOT t.tgisinternal AND t.tgenabled <> 'D'`
	// The actions of foreign keys are triggers of the table that they refer to.
	sqlKeyActions = `SELECT t.tgrelid, t.tgconstrrelid, c.relowner, (t.tgtype & 8) <> 0, t.tgfoid = '"RI_FKey_cascade_del"'::regproc
		FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgconstrrelid WHERE t.tgenabled IN ('O', 'A') AND t.tgfoid IN ('"RI_FKey_cascade_del"'::regproc, '"RI_FKey_setnull_del"'::regproc,
			'"RI_FKey_setdefault_del"'::regproc, '"RI_FKey_cascade_upd"'::regproc, '"RI_FKey_setnull_upd"'::regproc, '"RI_FKey_setdefault_upd"'::regproc)`
)

// anything is what a rule or trigger might do.
const anything = canSelect | canInsert | canUpdate | canDelete | canTruncate

// effect is what a relation sets off when it is written.
type effect struct {
	by     setOff
	events bits   // privileges on the relation that set it off
	target uint32 // none of a trigger: what its function mentions
	does   bits   // with the target
	acting uint32 // whose rights count there
	after  bool   // a trigger that comes when the statement is done
	text   *functionBody
}

type setOff int

const (
	byItsRule setOff = iota
	byTrigger
	byItsKey
)

// functionBody is what a function names or depends on.
type functionBody struct {
	owner   uint32
	definer bool
	words   map[string]bool
	depends []uint32

	mentions []uint32 // nil: not asked yet, see mentioned
}

func (p *relationPaths) readActs(ctx context.Context, conn *pgx.Conn) error {
	if err := p.readRules(ctx, conn); err != nil {
		return err
	}
	if err := p.readTriggers(ctx, conn); err != nil {
		return err
	}
	return each(ctx, conn, func(rows pgx.Rows) error {
		var relation uint32
		var deletes, cascades bool
		a := effect{by: byItsKey, events: canUpdate, does: canUpdate}
		err := rows.Scan(&relation, &a.target, &a.acting, &deletes, &cascades)
		if deletes {
			a.events = canDelete
		}
		if cascades {
			a.does = canDelete
		}
		a.acting = p.d.owned(a.acting)
		p.acts[relation] = append(p.acts[relation], a)
		return err
	}, sqlKeyActions)
}

func (p *relationPaths) readRules(ctx context.Context, conn *pgx.Conn) error {
	return each(ctx, conn, func(rows pgx.Rows) error {
		var relation, owner uint32
		var event string
		var mentions []uint32
		if err := rows.Scan(&relation, &owner, &event, &mentions); err != nil {
			return err
		}
		need := map[string]bits{"2": canUpdate, "3": canInsert, "4": canDelete}[event]
		for _, other := range mentions {
			p.acts[relation] = append(p.acts[relation], effect{by: byItsRule, events: need, target: other, does: anything, acting: p.d.owned(owner)})
		}
		return nil
	}, sqlRules)
}

func (p *relationPaths) readTriggers(ctx context.Context, conn *pgx.Conn) error {
	bodies := map[uint32]*functionBody{}
	err := p.d.bounded(ctx, conn, p.c.limits.Functions, "functions of triggers", func(rows pgx.Rows) error {
		var oid uint32
		var source string
		f := &functionBody{}
		err := rows.Scan(&oid, &f.owner, &f.definer, &source, &f.depends)
		f.owner, f.words = p.d.owned(f.owner), words(source)
		bodies[oid] = f
		return err
	}, sqlTriggerFunctions, countTriggerFunctions)
	if err != nil {
		return err
	}
	return each(ctx, conn, func(rows pgx.Rows) error {
		var relation, function uint32
		var events int32
		if err := rows.Scan(&relation, &events, &function); err != nil || bodies[function] == nil {
			return err
		}
		a := effect{by: byTrigger, does: anything, after: events&(2|64) == 0, text: bodies[function]}
		for event, b := range map[int32]bits{4: canInsert, 8: canDelete, 16: canUpdate, 32: canTruncate} {
			if events&event != 0 {
				a.events |= b
			}
		}
		p.acts[relation] = append(p.acts[relation], a)
		return nil
	}, sqlTriggers)
}
