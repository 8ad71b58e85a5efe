/*
 * call.c: the one symbol of all functions that came after version 1.0.
 *
 * CREATE FUNCTION looks its symbol up in the module that the server has
 * loaded, which after an installation is the older one until the restart.  A
 * symbol that every module has lets ALTER EXTENSION UPDATE succeed before it.
 * The function itself is found when it is called, by the name it has in SQL.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "portcullis.h"

PG_FUNCTION_INFO_V1(portcullis_call);

/* portcullis_NAME of the module that the function is declared in, NULL: it has none. */
static PGFunction
function_named_as(Oid function)
{
	HeapTuple	proc = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Datum		module;
	bool		missing;
	PGFunction	found;

	if (!HeapTupleIsValid(proc))
		elog(ERROR, "cache lookup failed for function %u", function);
	module = SysCacheGetAttr(PROCOID, proc, Anum_pg_proc_probin, &missing);
	if (missing)
		elog(ERROR, "function %u has no module", function);
	found = load_external_function(TextDatumGetCString(module),
								   psprintf("portcullis_%s", NameStr(((Form_pg_proc) GETSTRUCT(proc))->proname)),
								   false, NULL);
	ReleaseSysCache(proc);
	return found == portcullis_call ? NULL : found;
}

Datum
portcullis_call(PG_FUNCTION_ARGS)
{
	FmgrInfo   *info = fcinfo->flinfo;

	/* What is found stays where PostgreSQL keeps the function to call: fn_extra is the function's own. */
	if (info->fn_addr == portcullis_call)
	{
		PGFunction	found = function_named_as(info->fn_oid);

		if (found == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the module portcullis that this server has loaded is too old for %s", format_procedure(info->fn_oid)),
					 errhint("A newer version is installed: restart the server.")));
		info->fn_addr = found;
	}
	return info->fn_addr(fcinfo);
}
