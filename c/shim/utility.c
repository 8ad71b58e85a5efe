/*
 * utility.c: the ProcessUtility hook: EXPLAIN and definitions in governed
 * sessions, SET of the impersonation settings, passwords of user mappings.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/defrem.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "foreign/foreign.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/builtins.h"

#include "compat.h"
#include "govern.h"
#include "loader.h"
#include "seal.h"
#include "session.h"

#define EXPLAIN_ANSWER "Plans are not shown in governed sessions"

IntoClause *pc_current_into = NULL;

static ProcessUtility_hook_type next_utility = NULL;

/* ---- EXPLAIN --------------------------------------------------------------- */

/* The column has the type that was described: json and xml must be well formed. */
static const char *
explain_answer(ExplainStmt *stmt)
{
	const char *answer = EXPLAIN_ANSWER;
	ListCell   *lc;

	foreach(lc, stmt->options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "format") != 0)
			continue;
		if (strcmp(defGetString(option), "json") == 0)
			answer = "\"" EXPLAIN_ANSWER "\"";
		else if (strcmp(defGetString(option), "xml") == 0)
			answer = "<explain>" EXPLAIN_ANSWER "</explain>";
		else
			answer = EXPLAIN_ANSWER;
	}
	return answer;
}

static void
answer_explain(ExplainStmt *stmt, DestReceiver *dest)
{
	TupOutputState *out = begin_tup_output_tupdesc(dest, ExplainResultDesc(stmt), &TTSOpsVirtual);

	do_text_output_oneline(out, explain_answer(stmt));
	end_tup_output(out);
}

/* ---- definitions --------------------------------------------------------------- */

static bool
is_our_wrapper(const char *name)
{
	return name != NULL && strcmp(name, "portcullis") == 0;
}

static bool
is_our_server(const char *name)
{
	ForeignServer *server = name != NULL ? GetForeignServerByName(name, true) : NULL;

	return server != NULL && is_our_wrapper(GetForeignDataWrapper(server->fdwid)->fdwname);
}

static bool
is_our_table(RangeVar *rel)
{
	Oid			relid = rel != NULL ? RangeVarGetRelid(rel, NoLock, true) : InvalidOid;

	return OidIsValid(relid) && pc_is_our_relation(relid);
}

/* Does the statement define or change something of ours? */
static bool
touches_our_definitions(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreateForeignServerStmt:
			return is_our_wrapper(((CreateForeignServerStmt *) stmt)->fdwname);
		case T_AlterForeignServerStmt:
			return is_our_server(((AlterForeignServerStmt *) stmt)->servername);
		case T_CreateUserMappingStmt:
			return is_our_server(((CreateUserMappingStmt *) stmt)->servername);
		case T_AlterUserMappingStmt:
			return is_our_server(((AlterUserMappingStmt *) stmt)->servername);
		case T_DropUserMappingStmt:
			return is_our_server(((DropUserMappingStmt *) stmt)->servername);
		case T_CreateForeignTableStmt:
			return is_our_server(((CreateForeignTableStmt *) stmt)->servername);
		case T_ImportForeignSchemaStmt:
			return is_our_server(((ImportForeignSchemaStmt *) stmt)->server_name);
		case T_AlterTableStmt:
			return is_our_table(((AlterTableStmt *) stmt)->relation);
		case T_RenameStmt:
			return is_our_table(((RenameStmt *) stmt)->relation);
		case T_AlterObjectSchemaStmt:
			return is_our_table(((AlterObjectSchemaStmt *) stmt)->relation);
		default:
			return false;
	}
}

static void
refuse_definitions(Node *stmt)
{
	if (touches_our_definitions(stmt))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("governed sessions may not define sources or data sources"),
				 errhint("Ask an administrator to register the table with immutasys.create_data_source().")));
}

/* ---- what runs around the statement -------------------------------------------------- */

static bool
sets_impersonation(Node *stmt)
{
	VariableSetStmt *set = (VariableSetStmt *) stmt;

	return IsA(stmt, VariableSetStmt) && set->kind == VAR_SET_VALUE && set->name != NULL &&
		(pg_strcasecmp(set->name, "immuta.impersonation_iamid") == 0 ||
		 pg_strcasecmp(set->name, "immuta.impersonation_userid") == 0);
}

static bool
discards_all(Node *stmt)
{
	return IsA(stmt, DiscardStmt) && ((DiscardStmt *) stmt)->target == DISCARD_ALL;
}

static void
utility(PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context,
		ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *stmt = pstmt->utilityStmt;
	IntoClause *outer_into = pc_current_into;
	PlannedStmt *outer_stmt = pc_current_utility;
	const char *outer_text = pc_current_utility_text;
	bool		outer_set = pc_impersonation_by_set;
	bool		done = false;

	if (IsTransactionState() && pc_session_governed())
	{
		if (IsA(stmt, ExplainStmt))
		{
			answer_explain((ExplainStmt *) stmt, dest);
			return;
		}
		refuse_definitions(stmt);
	}
	pstmt = pc_seal_mapping(pstmt, &query, &read_only);
	PG_TRY();
	{
		pc_current_utility = pstmt;
		pc_current_utility_text = query;
		if (IsA(stmt, CreateTableAsStmt))
			pc_current_into = ((CreateTableAsStmt *) stmt)->into;
		pc_impersonation_by_set = sets_impersonation(stmt);
		if (next_utility)
			next_utility(pstmt, query, read_only, context, params, env, dest, qc);
		else
			standard_ProcessUtility(pstmt, query, read_only, context, params, env, dest, qc);
		done = true;
	}
	PG_FINALLY();
	{
		pc_current_into = outer_into;
		pc_current_utility = outer_stmt;
		pc_current_utility_text = outer_text;
		pc_impersonation_by_set = outer_set;
	}
	PG_END_TRY();
	if (done && discards_all(stmt) && pc_engine_loaded())
		(void) PC_CALL(disconnect, 0);
}

void
pc_utility_init(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	pc_hide_init();
}
