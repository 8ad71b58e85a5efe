/*
 * connections.c: SQL functions about this session's remote connections and
 * about the extension itself.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "fdw.h"

#define PC_VERSION "1.0"

/* Columns of portcullis_connections(). */
enum
{
	CONNECTION_SERVER,
	CONNECTION_DRIVER,
	CONNECTION_STATE,
	CONNECTION_OPENED,
	CONNECTION_LAST_USED,
	CONNECTION_STATEMENTS,
	CONNECTION_IN_TRANSACTION,
	CONNECTION_COLUMNS
};

static Datum epoch_us_to_timestamptz(const char *text);

PG_FUNCTION_INFO_V1(portcullis_connections);

Datum
portcullis_connections(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	pc_rows		rows = {0};
	pc_error	err = {0};

	pc_materialized_srf(fcinfo);
	if (!pc_engine_loaded())
		return (Datum) 0;
	if (PC_CALL(connections, &rows, &err) != PC_OK)
		pc_throw(&err);
	for (int64 r = 0; r < rows.nrows; r++)
	{
		char	  **cell = rows.cells + r * rows.ncols;
		Datum		values[CONNECTION_COLUMNS] = {0};
		bool		nulls[CONNECTION_COLUMNS];

		for (int c = 0; c < CONNECTION_COLUMNS; c++)
			nulls[c] = c >= rows.ncols || cell[c] == NULL;
		for (int c = CONNECTION_SERVER; c <= CONNECTION_STATE; c++)
			if (!nulls[c])
				values[c] = CStringGetTextDatum(cell[c]);
		for (int c = CONNECTION_OPENED; c <= CONNECTION_LAST_USED; c++)
			if (!nulls[c])
				values[c] = epoch_us_to_timestamptz(cell[c]);
		if (!nulls[CONNECTION_STATEMENTS])
			values[CONNECTION_STATEMENTS] = Int64GetDatum(strtoll(cell[CONNECTION_STATEMENTS], NULL, 10));
		if (!nulls[CONNECTION_IN_TRANSACTION])
		{
			bool		in = false;

			nulls[CONNECTION_IN_TRANSACTION] = !parse_bool(cell[CONNECTION_IN_TRANSACTION], &in);
			values[CONNECTION_IN_TRANSACTION] = BoolGetDatum(in);
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	PC_CALL_VOID(rows_free, &rows);
	return (Datum) 0;
}

static Datum
epoch_us_to_timestamptz(const char *text)
{
	int64		us = strtoll(text, NULL, 10);

	return TimestampTzGetDatum(us - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY);
}

PG_FUNCTION_INFO_V1(portcullis_disconnect);

/* portcullis_disconnect(server): closes idle connections, NULL: to all servers; returns how many. */
Datum
portcullis_disconnect(PG_FUNCTION_ARGS)
{
	Oid			serverid = InvalidOid;

	if (!PG_ARGISNULL(0))
		serverid = GetForeignServerByName(NameStr(*PG_GETARG_NAME(0)), false)->serverid;
	if (!pc_engine_loaded())
		PG_RETURN_INT32(0);
	PG_RETURN_INT32(PC_CALL(disconnect, serverid));
}

PG_FUNCTION_INFO_V1(portcullis_version);

Datum
portcullis_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("portcullis %s, ABI %d, %s", PC_VERSION, PC_ABI,
											  pc_preloaded ? "preloaded" : "not preloaded")));
}

PG_FUNCTION_INFO_V1(portcullis_check_database);

/* Called by the install script. */
Datum
portcullis_check_database(PG_FUNCTION_ARGS)
{
	if (GetDatabaseEncoding() != PG_UTF8)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("portcullis needs a database with encoding UTF8, this one has %s",
						GetDatabaseEncodingName()),
				 errhint("CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and create the extension there.")));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(portcullis_fault);

/* immutasys.fault(kind): panics inside the library, to show that a session survives it. */
Datum
portcullis_fault(PG_FUNCTION_ARGS)
{
	char	   *kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	pc_error	err = {0};
	pc_rows		rows = {0};
	uint64_t	ticket = 0;

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only a superuser may call this function")));
	if (strcmp(kind, "call") != 0 && strcmp(kind, "goroutine") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown fault \"%s\"", kind),
				 errhint("Valid are call and goroutine.")));
	if (PC_CALL(fault, kind[0] == 'c' ? 'p' : 'g', &ticket, &err) != PC_OK)
		pc_throw(&err);
	pc_ticket_rows(ticket, &rows);
	PC_CALL_VOID(rows_free, &rows);
	PG_RETURN_VOID();
}
