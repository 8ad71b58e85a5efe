/*
 * fdw_explain.c: what EXPLAIN VERBOSE tells of a scan: the remote SQL, and
 * why conditions stayed here. Governed sessions are told nothing.
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/ruleutils.h"

#include "fdw.h"
#include "fdw_scan.h"

static void explain_sql(ForeignScanState *node, ExplainState *es);
static void explain_reasons(ForeignScanState *node, ExplainState *es);

void
pc_explain_scan(ForeignScanState *node, ExplainState *es)
{
	if (!es->verbose || pc_session_governed())
		return;
	explain_sql(node, es);
	explain_reasons(node, es);
}

static void
explain_sql(ForeignScanState *node, ExplainState *es)
{
	pc_scan_grant grant = {0};
	uint64		id = pc_compose(node, &grant, true);
	const char *sql = PC_CALL(scan_sql, id);

	if (sql != NULL)
		sql = pstrdup(sql);
	PC_CALL_VOID(scan_end, id, NULL);
	if (sql != NULL)
		ExplainPropertyText("Remote SQL", sql, es);
}

static void
explain_reasons(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	List	   *reasons = list_nth(plan->fdw_private, PC_PLAN_REASONS);
	List	   *context;
	ListCell   *qual;
	ListCell   *reason;
	List	   *lines = NIL;

	if (list_length(reasons) != list_length(plan->scan.plan.qual))
		return;
	context = set_deparse_context_plan(es->deparse_cxt, (Plan *) plan, NIL);
	forboth(qual, plan->scan.plan.qual, reason, reasons)
	{
		char	   *text = deparse_expression(lfirst(qual), context, list_length(es->rtable) > 1, false);

		lines = lappend(lines, psprintf("%s: %s", text, strVal(lfirst(reason))));
	}
	if (es->format != EXPLAIN_FORMAT_TEXT)
		ExplainPropertyList("Local because", lines, es);
	else
		foreach(qual, lines)
			ExplainPropertyText("Local because", lfirst(qual), es);
}
