/*
 * fdw_stats.c: counting at the source for immutasys.analyze(), and the
 * refusal of ANALYZE, which would keep remote values in pg_statistic.
 */
#include "postgres.h"

#include "foreign/foreign.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "fdw.h"

bool
pc_analyze(Relation rel, AcquireSampleRowsFunc *func, BlockNumber *pages)
{
	ereport(WARNING,
			(errmsg("ANALYZE keeps nothing about table \"%s\": remote values belong in no catalog",
					RelationGetRelationName(rel)),
			 errhint("SELECT immutasys.analyze('%s') counts rows and distinct values.",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												RelationGetRelationName(rel)))));
	return false;
}

PG_FUNCTION_INFO_V1(portcullis_count);

/*
 * immutasys.count_table(regclass): one row for the table (attnum 0), one for
 * each column, counted by the source.
 */
Datum
portcullis_count(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	pc_table   *table;
	pc_rows		rows = {0};
	pc_error	err = {0};
	uint64_t	ticket = 0;

	if (pc_session_governed())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("this session may not count rows of data sources")));
	if (!pc_is_our_relation(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a foreign table of portcullis",
						get_rel_name(relid) ? get_rel_name(relid) : "")));
	pc_materialized_srf(fcinfo);
	LockRelationOid(relid, AccessShareLock);
	table = pc_describe_table(relid);
	if (PC_CALL(count, pc_describe_source(GetForeignTable(relid)->serverid, GetUserId()), table, 1, &ticket, &err) != PC_OK)
		pc_throw(&err);
	pc_ticket_rows(ticket, &rows);

	for (int64 r = 0; r < rows.nrows; r++)
	{
		char	  **cell = rows.cells + r * rows.ncols;
		Datum		values[4] = {0};
		bool		nulls[4] = {false, true, true, true};

		if (r == 0)
		{
			values[0] = Int16GetDatum(0);
			values[1] = DirectFunctionCall1(float8in, CStringGetDatum(cell[0]));
			nulls[1] = false;
		}
		else
		{
			AttrNumber	attnum = InvalidAttrNumber;

			for (int a = 0; a < table->nattributes; a++)
				if (strcmp(table->attributes[a].name, cell[0]) == 0)
					attnum = table->attributes[a].attnum;
			if (attnum == InvalidAttrNumber)
				continue;
			values[0] = Int16GetDatum(attnum);
			for (int c = 1; c <= 2 && c < rows.ncols; c++)
				if (cell[c] != NULL)
				{
					values[c + 1] = DirectFunctionCall1(float8in, CStringGetDatum(cell[c]));
					nulls[c + 1] = false;
				}
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	PC_CALL_VOID(rows_free, &rows);
	return (Datum) 0;
}
