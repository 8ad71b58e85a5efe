/*
 * fdw.c: the foreign data wrapper's handler, and the ends of transactions.
 */
#include "postgres.h"

#include "access/xact.h"
#include "foreign/fdwapi.h"

#include "fdw.h"

static void transaction_ended(XactEvent event, void *arg);

PG_FUNCTION_INFO_V1(portcullis_fdw_handler);

Datum
portcullis_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	routine->GetForeignRelSize = pc_get_rel_size;
	routine->GetForeignPaths = pc_get_paths;
	routine->GetForeignPlan = pc_get_plan;
	routine->BeginForeignScan = pc_begin_scan;
	routine->IterateForeignScan = pc_iterate_scan;
	routine->ReScanForeignScan = pc_rescan;
	routine->EndForeignScan = pc_end_scan;
	routine->ExplainForeignScan = pc_explain_scan;
	routine->AnalyzeForeignTable = pc_analyze;
	routine->ImportForeignSchema = pc_import_schema;
	pc_install_write_refusal(routine);
	PG_RETURN_POINTER(routine);
}

void
pc_fdw_init(void)
{
	RegisterXactCallback(transaction_ended, NULL);
	pc_plan_init();
	pc_write_init();
	pc_stats_init();
}

static void
transaction_ended(XactEvent event, void *arg)
{
	if (!pc_engine_loaded())
		return;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PREPARE:
			pc_end_all_scans();
			PC_CALL_VOID(transaction_end, 1);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
			pc_end_all_scans();
			PC_CALL_VOID(transaction_end, 0);
			break;
		default:
			break;
	}
}
