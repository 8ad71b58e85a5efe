/*
 * fdw_write.c: data sources are read-only; whoever writes is told so.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "fdw.h"

#define WRITE_HINT "Write to the remote database itself, or copy the rows into a temporary table (CREATE TEMPORARY TABLE AS) and change them there."

static ProcessUtility_hook_type next_process_utility = NULL;
static emit_log_hook_type next_emit_log = NULL;

static void
refuse(const char *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot change table \"%s\": data sources are read-only", table),
			 errhint(WRITE_HINT)));
}

/* INSERT, UPDATE and DELETE, while planning. */
static List *
plan_modify(PlannerInfo *root, ModifyTable *plan, Index result_relation, int subplan_index)
{
	RangeTblEntry *rte = planner_rt_fetch(result_relation, root);

	refuse(get_rel_name(rte->relid));
	return NIL;
}

/*
 * MERGE into a parent of ours.  Core refuses it in words of its own, a little
 * later and for the same tables: those that planning did not leave out.
 */
void
pc_refuse_merge(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	if (root->parse->commandType == CMD_MERGE && bms_is_member(rel->relid, root->leaf_result_relids))
		refuse(get_rel_name(relid));
}

/*
 * A row that INSERT, COPY or an UPDATE of its key sends from a parent to this
 * partition.  Core first asks whether the table can be written, and where the
 * answer is no says so in words of its own.  So whoever has locked the table
 * for writing is told yes, and is refused at the next call; the views of
 * information_schema hold another lock.
 */
static int
updatable(Relation rel)
{
	return CheckRelationLockedByMe(rel, RowExclusiveLock, false) ? 1 << CMD_INSERT : 0;
}

static void
begin_insert(ModifyTableState *mtstate, ResultRelInfo *result)
{
	refuse(RelationGetRelationName(result->ri_RelationDesc));
}

/* Never reached: begin_insert comes first. */
static TupleTableSlot *
insert(EState *estate, ResultRelInfo *result, TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	refuse(RelationGetRelationName(result->ri_RelationDesc));
	return NULL;
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
	routine->IsForeignRelUpdatable = updatable;
	routine->BeginForeignInsert = begin_insert;
	routine->ExecForeignInsert = insert;
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

/*
 * MERGE that names a foreign table ends while it is parsed, where no hook and
 * no callback of the table's is asked: the error can only be given the hint
 * on its way out.  It is of use whatever wrapper the table has.
 */
static void
hint_at_merge(ErrorData *edata)
{
	if (edata->sqlerrcode == ERRCODE_FEATURE_NOT_SUPPORTED && edata->hint == NULL && edata->funcname != NULL &&
		strcmp(edata->funcname, "transformMergeStmt") == 0 && edata->detail != NULL &&
		strcmp(edata->detail, _("This operation is not supported for foreign tables.")) == 0)
		edata->hint = pstrdup(WRITE_HINT);
	if (next_emit_log)
		next_emit_log(edata);
}

void
pc_write_init(void)
{
	next_emit_log = emit_log_hook;
	emit_log_hook = hint_at_merge;
	next_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
