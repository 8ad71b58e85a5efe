/*
 * fdw_plan.c: size, paths and plan of a scan of one foreign table.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/paths.h"
#include "optimizer/plancat.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"

#include "fdw.h"

/* Cost of a remote statement, and of bringing one row here. */
#define PC_STARTUP_COST 100.0
#define PC_ROW_COST 0.01

typedef struct member_context
{
	Expr	   *current;
	List	   *done;
} member_context;

static get_relation_info_hook_type next_relation_info = NULL;

static void relation_info(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel);
static bool wants_remote_estimate(Oid relid, Oid serverid);
static double table_rows(pc_relation *r);
static double count_remotely(pc_relation *r);
static void add_parameterized_paths(PlannerInfo *root, RelOptInfo *rel);
static List *outer_relids_of_joins(PlannerInfo *root, RelOptInfo *rel);
static List *remember_outer(pc_relation *r, RelOptInfo *rel, RestrictInfo *rinfo, List *seen);
static bool member_to_join(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec,
						   EquivalenceMember *em, void *arg);
static void scan_costs(PlannerInfo *root, RelOptInfo *rel, List *pushed, List *kept, double rows,
					   Cost *startup, Cost *total);
static List *wanted_columns(RelOptInfo *rel, Oid relid, List *local_exprs);
static int64 exact_limit(PlannerInfo *root, RelOptInfo *rel, bool conditions_here);
static bool const_count(Node *node, int64 *count);

void
pc_plan_init(void)
{
	next_relation_info = get_relation_info_hook;
	get_relation_info_hook = relation_info;
}

/* A mask may show NULL where the source holds none. */
static void
relation_info(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)
{
	if (next_relation_info)
		next_relation_info(root, relid, inhparent, rel);
	if (rel->fdwroutine != NULL && rel->fdwroutine->GetForeignRelSize == pc_get_rel_size && pc_session_governed())
		pc_forget_not_null(rel);
}

void
pc_get_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	pc_relation *r = palloc0(sizeof(pc_relation));
	Oid			userid = pc_planned_user(root, rel);
	ForeignTable *ft = GetForeignTable(relid);

	pc_refuse_merge(root, rel, relid);
	(void) pc_engine();			/* what is missing is said before anything is asked */
	rel->fdw_private = r;
	r->governed = pc_session_governed();
	r->table = pc_describe_table(relid);
	r->source = pc_describe_source(ft->serverid, OidIsValid(userid) ? userid : GetUserId());
	r->use_remote_estimate = !r->governed && wants_remote_estimate(relid, ft->serverid);
	pc_classify(r, rel, rel->baserestrictinfo, &r->pushed, &r->kept, &r->reasons);

	r->tuples = table_rows(r);
	rel->tuples = r->tuples;
	set_baserel_size_estimates(root, rel);
	if (r->governed)
		rel->rows = PC_DEFAULT_ROWS;	/* says nothing of hidden rows */
}

static bool
wants_remote_estimate(Oid relid, Oid serverid)
{
	const char *value = pc_option_value(GetForeignTable(relid)->options, "use_remote_estimate");
	bool		wants = false;

	if (value == NULL)
		value = pc_option_value(GetForeignServer(serverid)->options, "use_remote_estimate");
	if (value != NULL)
		(void) parse_bool(value, &wants);
	return wants;
}

static double
table_rows(pc_relation *r)
{
	double		rows;

	if (r->governed)
		return PC_DEFAULT_ROWS;
	if (r->use_remote_estimate)
		return count_remotely(r);
	if (pc_known_rows(r->table->relid, &rows))
		return Max(rows, 1.0);
	return PC_DEFAULT_ROWS;
}

static double
count_remotely(pc_relation *r)
{
	uint64_t	ticket = 0;
	pc_rows		rows = {0};
	pc_error	err = {0};
	double		count = PC_DEFAULT_ROWS;

	if (PC_CALL(count, r->source, r->table, 0, &ticket, &err) != PC_OK)
		pc_throw(&err);
	pc_ticket_rows(ticket, &rows);
	if (rows.nrows > 0 && rows.ncols > 0 && rows.cells[0] != NULL)
		count = strtod(rows.cells[0], NULL);
	PC_CALL_VOID(rows_free, &rows);
	return Max(count, 1.0);
}

void
pc_get_paths(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	pc_relation *r = rel->fdw_private;
	Cost		startup,
				total;

	scan_costs(root, rel, r->pushed, r->kept, rel->rows, &startup, &total);
	add_path(rel, (Path *) pc_create_scan_path(root, rel, rel->rows, startup, total,
											   rel->lateral_relids));
	add_parameterized_paths(root, rel);
}

/* One path a set of outer relations whose join clauses the source could compute. */
static void
add_parameterized_paths(PlannerInfo *root, RelOptInfo *rel)
{
	pc_relation *r = rel->fdw_private;
	List	   *outers = outer_relids_of_joins(root, rel);
	ListCell   *lc;

	foreach(lc, outers)
	{
		Relids		outer = lfirst(lc);
		ParamPathInfo *info = get_baserel_parampathinfo(root, rel, outer);
		List	   *pushed = NIL;
		List	   *kept = NIL;
		List	   *reasons = NIL;
		Cost		startup,
					total;

		pc_classify(r, rel, info->ppi_clauses, &pushed, &kept, &reasons);
		if (pushed == NIL)
			continue;
		pushed = list_concat(pushed, r->pushed);
		kept = list_concat(kept, r->kept);
		scan_costs(root, rel, pushed, kept, info->ppi_rows, &startup, &total);
		add_path(rel, (Path *) pc_create_scan_path(root, rel, info->ppi_rows, startup, total, outer));
	}
}

static List *
outer_relids_of_joins(PlannerInfo *root, RelOptInfo *rel)
{
	pc_relation *r = rel->fdw_private;
	member_context cx = {0};
	List	   *seen = NIL;
	ListCell   *lc;

	foreach(lc, rel->joininfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

		if (join_clause_is_movable_to(rinfo, rel))
			seen = remember_outer(r, rel, rinfo, seen);
	}
	if (!rel->has_eclass_joins)
		return seen;

	/* Each expression of this table that an equivalence class holds, in turn. */
	for (;;)
	{
		List	   *clauses;

		cx.current = NULL;
		clauses = generate_implied_equalities_for_column(root, rel, member_to_join, &cx,
														 rel->lateral_referencers);
		if (cx.current == NULL)
			break;
		foreach(lc, clauses)
		{
			RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

			if (join_clause_is_movable_to(rinfo, rel))
				seen = remember_outer(r, rel, rinfo, seen);
		}
		cx.done = lappend(cx.done, cx.current);
	}
	return seen;
}

static List *
remember_outer(pc_relation *r, RelOptInfo *rel, RestrictInfo *rinfo, List *seen)
{
	Relids		outer = bms_union(rinfo->clause_relids, rel->lateral_relids);
	ListCell   *lc;

	outer = bms_del_member(outer, rel->relid);
	if (bms_is_empty(outer))
		return seen;
	foreach(lc, seen)
		if (bms_equal(lfirst(lc), outer))
			return seen;
	return lappend(seen, outer);
}

/* As postgres_fdw: settle on one member a round, skip those of earlier rounds. */
static bool
member_to_join(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec,
			   EquivalenceMember *em, void *arg)
{
	member_context *cx = arg;

	if (cx->current != NULL)
		return equal(em->em_expr, cx->current);
	if (list_member(cx->done, em->em_expr))
		return false;
	cx->current = em->em_expr;
	return true;
}

static void
scan_costs(PlannerInfo *root, RelOptInfo *rel, List *pushed, List *kept, double rows,
		   Cost *startup, Cost *total)
{
	pc_relation *r = rel->fdw_private;
	Selectivity remote = clauselist_selectivity(root, pushed, rel->relid, JOIN_INNER, NULL);
	double		fetched = Max(rows, clamp_row_est(r->tuples * remote));
	QualCost	here;

	cost_qual_eval(&here, r->governed ? list_concat_copy(pushed, kept) : kept, root);
	*startup = PC_STARTUP_COST + here.startup;
	*total = *startup + fetched * (PC_ROW_COST + cpu_tuple_cost + here.per_tuple);
}

ForeignScan *
pc_get_plan(PlannerInfo *root, RelOptInfo *rel, Oid relid, ForeignPath *path,
			List *tlist, List *scan_clauses, Plan *outer_plan)
{
	pc_relation *r = rel->fdw_private;
	List	   *pushed = NIL;
	List	   *kept = NIL;
	List	   *reasons = NIL;
	List	   *sent = NIL;
	List	   *params = NIL;
	List	   *local_exprs;
	List	   *wanted;
	int64		limit;
	ListCell   *lc;

	pc_classify(r, rel, scan_clauses, &pushed, &kept, &reasons);
	foreach(lc, pushed)
	{
		Expr	   *expr = pc_localise(lfirst_node(RestrictInfo, lc)->clause, rel->relid, &params);

		if (expr == NULL)
			elog(ERROR, "a condition that could be sent a moment ago cannot now");
		sent = lappend(sent, expr);
	}

	/* In a governed session the plan promises nothing: all conditions run here as well. */
	local_exprs = extract_actual_clauses(r->governed ? scan_clauses : kept, false);
	wanted = wanted_columns(rel, relid, local_exprs);
	limit = exact_limit(root, rel, local_exprs != NIL);

	return make_foreignscan(tlist, local_exprs, rel->relid, params,
							list_make5(makeBoolean(r->governed),
									   sent,
									   wanted,
									   makeString(psprintf(INT64_FORMAT, limit)),
									   r->governed ? NIL : reasons),
							NIL,
							r->governed ? NIL : extract_actual_clauses(pushed, false),
							outer_plan);
}

static List *
wanted_columns(RelOptInfo *rel, Oid relid, List *local_exprs)
{
	Bitmapset  *used = NULL;
	List	   *wanted = NIL;
	Relation	relation = table_open(relid, NoLock);
	TupleDesc	desc = RelationGetDescr(relation);
	bool		whole_row;

	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &used);
	pull_varattnos((Node *) local_exprs, rel->relid, &used);
	whole_row = bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, used);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || pc_is_virtual(att))
			continue;
		if (whole_row || bms_is_member(att->attnum - FirstLowInvalidHeapAttributeNumber, used))
			wanted = lappend_int(wanted, att->attnum);
	}
	table_close(relation, NoLock);
	return wanted;
}

/*
 * How many rows the LIMIT above can use, where nothing between it and this
 * scan drops, adds or sorts rows; else -1.
 */
static int64
exact_limit(PlannerInfo *root, RelOptInfo *rel, bool conditions_here)
{
	Query	   *parse = root->parse;
	int64		count;
	int64		offset = 0;

	if (conditions_here || rel->reloptkind != RELOPT_BASEREL || !pc_only_relation(root, rel))
		return -1;
	if (parse->commandType != CMD_SELECT || parse->limitOption != LIMIT_OPTION_COUNT)
		return -1;
	if (parse->groupClause || parse->groupingSets || parse->distinctClause || parse->sortClause ||
		parse->hasAggs || parse->hasWindowFuncs || parse->hasTargetSRFs || parse->havingQual ||
		parse->setOperations)
		return -1;
	if (!const_count(parse->limitCount, &count))
		return -1;
	if (parse->limitOffset != NULL && !const_count(parse->limitOffset, &offset))
		return -1;
	if (count > PG_INT64_MAX - offset)
		return -1;
	return count + offset;
}

static bool
const_count(Node *node, int64 *count)
{
	Const	   *c = (Const *) node;

	if (node == NULL || !IsA(node, Const) || c->constisnull || c->consttype != INT8OID)
		return false;
	*count = DatumGetInt64(c->constvalue);
	return *count >= 0;
}
