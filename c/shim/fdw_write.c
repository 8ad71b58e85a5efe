/*
 * fdw_write.c: data sources are read-only; whoever writes is told so.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "fdw.h"

static ProcessUtility_hook_type next_process_utility = NULL;

static void
refuse(const char *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot change table \"%s\": data sources are read-only", table),
			 errhint("Write to the remote database itself, or copy the rows into a temporary table (CREATE TEMPORARY TABLE AS) and change them there.")));
}

/* INSERT, UPDATE, DELETE and MERGE, while planning. */
static List *
plan_modify(PlannerInfo *root, ModifyTable *plan, Index result_relation, int subplan_index)
{
	RangeTblEntry *rte = planner_rt_fetch(result_relation, root);

	refuse(get_rel_name(rte->relid));
	return NIL;
}

static void
truncate_tables(List *rels, DropBehavior behavior, bool restart_seqs)
{
	refuse(RelationGetRelationName((Relation) linitial(rels)));
}

/*
 * How a statement that locks rows gets at this table's again, to test them
 * once more: from copies.  Rows of a source cannot be locked from here.
 */
static RowMarkType
row_mark(RangeTblEntry *rte, LockClauseStrength strength)
{
	if (strength != LCS_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot lock rows of table \"%s\": data sources are read-only", get_rel_name(rte->relid)),
				 errhint("Leave FOR UPDATE or FOR SHARE out, or name the tables to lock after OF.")));
	return ROW_MARK_COPY;
}

void
pc_install_write_refusal(FdwRoutine *routine)
{
	routine->GetForeignRowMarkType = row_mark;
	routine->PlanForeignModify = plan_modify;
	routine->ExecForeignTruncate = truncate_tables;
}

static void
refuse_if_ours(RangeVar *relation)
{
	Oid			relid = RangeVarGetRelid(relation, NoLock, true);

	if (OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE &&
		pc_is_our_relation(relid))
		refuse(get_rel_name(relid));
}

/* COPY FROM asks no callback before core refuses it in words of its own. */
static void
refuse_copy_from(CopyStmt *stmt)
{
	if (stmt->is_from && stmt->relation != NULL)
		refuse_if_ours(stmt->relation);
}

/* Who lacks the privilege is told the same as of other writes. */
static void
refuse_truncate(TruncateStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->relations)
		refuse_if_ours(lfirst_node(RangeVar, lc));
}

static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	if (IsA(pstmt->utilityStmt, CopyStmt))
		refuse_copy_from((CopyStmt *) pstmt->utilityStmt);
	else if (IsA(pstmt->utilityStmt, TruncateStmt))
		refuse_truncate((TruncateStmt *) pstmt->utilityStmt);
	if (next_process_utility)
		next_process_utility(pstmt, query, read_only_tree, context, params, env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, env, dest, qc);
}

void
pc_write_init(void)
{
	next_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
