/*
 * import.c: IMPORT FOREIGN SCHEMA.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/parsenodes.h"

#include "fdw.h"

List *
pc_import_schema(ImportForeignSchemaStmt *stmt, Oid serverid)
{
	pc_import_request request = {0};
	pc_error	err = {0};
	pc_rows		rows = {0};
	uint64_t	ticket = 0;
	const char **names;
	List	   *commands = NIL;
	ListCell   *lc;

	pc_refuse_governed_import();
	names = palloc0(sizeof(char *) * Max(list_length(stmt->table_list), 1));
	foreach(lc, stmt->table_list)
		names[request.nnames++] = lfirst_node(RangeVar, lc)->relname;
	request.source = pc_describe_source(serverid, GetUserId());
	request.remote_schema = stmt->remote_schema;
	request.local_schema = stmt->local_schema;
	request.list_kind = stmt->list_type == FDW_IMPORT_SCHEMA_LIMIT_TO ? 1 :
		stmt->list_type == FDW_IMPORT_SCHEMA_EXCEPT ? 2 : 0;
	request.names = names;
	request.options = pc_options(stmt->options);
	request.noptions = list_length(stmt->options);

	if (PC_CALL(import, &request, &ticket, &err) != PC_OK)
		pc_throw(&err);
	pc_ticket_rows(ticket, &rows);
	for (int64 i = 0; i < rows.nrows; i++)
	{
		const char *command = rows.cells[i * rows.ncols];
		const char *warning = rows.cells[i * rows.ncols + 1];

		if (command)
			commands = lappend(commands, pstrdup(command));
		if (warning)
			ereport(WARNING, (errmsg("%s", warning)));
	}
	PC_CALL_VOID(rows_free, &rows);
	return commands;
}
