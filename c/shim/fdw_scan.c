/*
 * fdw_scan.c: the life of one scan: compose, start, read blocks, end.
 *
 * A scan of the library is ended by EndForeignScan, or else when the
 * executor's memory goes away, or else at the end of the transaction.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "executor/executor.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/wait_event.h"

#include "fdw.h"
#include "fdw_scan.h"

static dlist_head live_scans = DLIST_STATIC_INIT(live_scans);

static pc_scan *prepare(ForeignScanState *node);
static void check_plan_fits_session(bool plan_governed, Relation rel);
static void prepare_params(pc_scan *scan, ForeignScanState *node);
static void start(pc_scan *scan, ForeignScanState *node);
static bool next_block(pc_scan *scan);
static void forget(void *arg);
static void end(pc_scan *scan);

void
pc_begin_scan(ForeignScanState *node, int eflags)
{
	EState	   *estate = node->ss.ps.state;

	node->fdw_state = NULL;
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	/* A recheck of one row (EvalPlanQual) mostly never reads: prepared when it does. */
	if (estate->es_epq_active != NULL)
		return;
	node->fdw_state = prepare(node);
}

static pc_scan *
prepare(ForeignScanState *node)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	EState	   *estate = node->ss.ps.state;
	EState	   *top = estate;
	Relation	rel = node->ss.ss_currentRelation;
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
	pc_scan    *scan = palloc0(sizeof(pc_scan));
	char	   *data_source = pc_relation_data_source(RelationGetRelid(rel));

	check_plan_fits_session(boolVal(list_nth(plan->fdw_private, PC_PLAN_GOVERNED)), rel);
	while (top->es_epq_active != NULL)
		top = top->es_epq_active->parentestate;
	pc_govern_scan(top, rel, data_source, &scan->grant);

	scan->reader = pc_reader_create(rel, list_nth(plan->fdw_private, PC_PLAN_WANTED));
	prepare_params(scan, node);

	/* From here on the library holds a scan: whatever happens, it is ended. */
	scan->cleanup.func = forget;
	scan->cleanup.arg = scan;
	MemoryContextRegisterResetCallback(estate->es_query_cxt, &scan->cleanup);
	scan->id = pc_compose(node, &scan->grant, false);
	dlist_push_tail(&live_scans, &scan->node);
	if (scan->grant.frame != NULL)
		pc_govern_scan_begun(scan->grant.frame, scan->id);

	MemoryContextSwitchTo(old);
	return scan;
}

/*
 * A plan made while the session was not governed (before SET SESSION
 * AUTHORIZATION) has given conditions away that a policy may not let go.
 */
static void
check_plan_fits_session(bool plan_governed, Relation rel)
{
	if (!pc_session_governed())
		return;
	if (!plan_governed)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the plan for table \"%s\" was made by a session that no policy governed",
						RelationGetRelationName(rel)),
				 errhint("Run DISCARD PLANS and repeat the statement.")));
	if (IsParallelWorker())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" cannot be read in a parallel worker", RelationGetRelationName(rel)),
				 errhint("Mark the function that reads it PARALLEL UNSAFE.")));
}

/* Composes the remote statement from the plan and the decision; returns the library's scan. */
uint64
pc_compose(ForeignScanState *node, const pc_scan_grant *grant, bool explain_only)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	Relation	rel = node->ss.ss_currentRelation;
	List	   *quals = list_nth(plan->fdw_private, PC_PLAN_QUALS);
	List	   *wanted = list_nth(plan->fdw_private, PC_PLAN_WANTED);
	ForeignTable *ft = GetForeignTable(RelationGetRelid(rel));
	Oid			userid = pc_scan_user(node);
	pc_scan_request request = {0};
	pc_session	session = {0};
	pc_error	err = {0};
	int32	   *attnums = palloc(sizeof(int32) * Max(list_length(wanted), 1));
	uint64_t	id = 0;
	ListCell   *lc;

	pc_session_fill(&session);
	foreach(lc, wanted)
		attnums[request.nwanted++] = lfirst_int(lc);
	request.session = &session;
	request.source = pc_describe_source(ft->serverid, OidIsValid(userid) ? userid : GetUserId());
	request.table = pc_describe_table(RelationGetRelid(rel));
	request.wanted = attnums;
	request.explain_only = explain_only;
	request.quals = quals != NIL ? pc_tree_send(quals) : NULL;
	request.decision = grant->decision;
	request.query_id = grant->query_id;
	request.limit = strtoll(strVal(list_nth(plan->fdw_private, PC_PLAN_LIMIT)), NULL, 10);
	if (PC_CALL(scan_begin, &request, &id, &err) != PC_OK)
		pc_throw(&err);
	return id;
}

static void
prepare_params(pc_scan *scan, ForeignScanState *node)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	int			n = list_length(plan->fdw_exprs);
	ListCell   *lc;
	int			i = 0;

	if (n == 0)
		return;
	scan->params = ExecInitExprList(plan->fdw_exprs, &node->ss.ps);
	scan->param_out = palloc0(sizeof(FmgrInfo) * n);
	foreach(lc, plan->fdw_exprs)
	{
		Oid			type = exprType(lfirst(lc));
		Oid			output;
		bool		varlena;

		getTypeOutputInfo(type, &output, &varlena);
		fmgr_info(output, &scan->param_out[i++]);
		scan->param_types = lappend_oid(scan->param_types, type);
	}
}

TupleTableSlot *
pc_iterate_scan(ForeignScanState *node)
{
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	pc_scan    *scan = node->fdw_state;

	if (unlikely(scan == NULL))
		scan = node->fdw_state = prepare(node);
	ExecClearTuple(slot);
	while (scan->block == NULL || scan->next_row >= scan->block->nrows)
	{
		if (scan->at_end)
			return slot;
		if (!scan->started)
			start(scan, node);
		if (!next_block(scan))
			return slot;
	}
	if (scan->grant.frame != NULL)
		pc_govern_row(scan->grant.frame);
	pc_reader_row(scan->reader, scan->block, scan->next_row++, slot);
	return slot;
}

/* Computes the parameters and hands the statement to the library, which executes it in the background. */
static void
start(pc_scan *scan, ForeignScanState *node)
{
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	MemoryContext old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	int			n = list_length(scan->params);
	pc_param   *params = palloc0(sizeof(pc_param) * Max(n, 1));
	pc_error	err = {0};

	if (n > 0)
	{
		int			nestlevel = pc_transmission_modes();

		for (int i = 0; i < n; i++)
		{
			bool		isnull;
			Datum		value = ExecEvalExpr((ExprState *) list_nth(scan->params, i), econtext, &isnull);

			params[i].type_oid = list_nth_oid(scan->param_types, i);
			params[i].text = isnull ? NULL : OutputFunctionCall(&scan->param_out[i], value);
		}
		pc_transmission_modes_end(nestlevel);
	}
	if (PC_CALL(scan_start, scan->id, params, n, &err) != PC_OK)
		pc_throw(&err);
	scan->started = true;
	MemoryContextSwitchTo(old);
}

static bool
next_block(pc_scan *scan)
{
	pc_error	err = {0};

	scan->block = NULL;
	scan->next_row = 0;
	pc_check_client();
	for (;;)
	{
		pc_block   *block = NULL;
		int32		rc = PC_CALL(scan_next, scan->id, &block, &err);

		switch (rc)
		{
			case PC_OK:
				if (scan->grant.frame != NULL)
					pc_govern_block(scan->grant.frame);
				pc_reader_block(scan->reader, block);
				scan->block = block;
				return true;
			case PC_END:
				if (scan->grant.frame != NULL)
					pc_govern_block(scan->grant.frame);
				scan->at_end = true;
				return false;
			case PC_WAIT:
				(void) pc_wait_progress(-1, PG_WAIT_EXTENSION);
				break;
			default:
				pc_throw(&err);
		}
	}
}

void
pc_rescan(ForeignScanState *node)
{
	pc_scan    *scan = node->fdw_state;

	if (scan == NULL)
		return;
	scan->started = false;
	scan->at_end = false;
	scan->block = NULL;
	scan->next_row = 0;
}

void
pc_end_scan(ForeignScanState *node)
{
	pc_scan    *scan = node->fdw_state;

	if (scan != NULL)
		end(scan);
}

/* The executor's memory goes away, after an error without EndForeignScan. */
static void
forget(void *arg)
{
	end(arg);
}

void
pc_end_all_scans(void)
{
	while (!dlist_is_empty(&live_scans))
		end(dlist_head_element(pc_scan, node, &live_scans));
}

static void
end(pc_scan *scan)
{
	uint64_t	id = scan->id;
	pc_scan_stats stats = {0};

	if (id == 0)
		return;
	scan->id = 0;
	scan->block = NULL;
	dlist_delete(&scan->node);
	if (!pc_engine_loaded())
		return;
	PC_CALL_VOID(scan_end, id, &stats);
	if (scan->grant.frame != NULL)
		pc_govern_scan_ended(scan->grant.frame, &stats);
}
