/*
 * hide.c: passwords, keys of the policy service and what is sealed stay out
 * of what is written or shown of the statements that hold them: the log,
 * pg_stat_activity, pg_stat_statements and the like.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "parser/analyze.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/backend_status.h"

#include "seal.h"
#include "session.h"

/* A key that lost some of its characters on the way here is one, too. */
#define API_KEY_AT_LEAST 32

static emit_log_hook_type next_emit_log = NULL;
static post_parse_analyze_hook_type next_analyze = NULL;
static ExecutorStart_hook_type next_start = NULL;
static ProcessUtility_hook_type next_utility = NULL;

/*
 * The next key of the policy service ("pk_" and 43 characters of base64url),
 * NULL: there is none.  Names such as "pk_orders" are none: what an error says
 * of them is for whoever made it.
 */
static const char *
find_api_key(const char *text, size_t *length)
{
	for (; text != NULL && (text = strstr(text, "pk_")) != NULL; text += *length)
	{
		bool		upper = false;

		for (*length = 3; isalnum((unsigned char) text[*length]) || text[*length] == '_' || text[*length] == '-'; ++*length)
			upper |= isupper((unsigned char) text[*length]) != 0;
		if (upper && *length >= API_KEY_AT_LEAST)
			return text;
	}
	return NULL;
}

static bool
holds_api_key(const char *text)
{
	size_t		length;

	return find_api_key(text, &length) != NULL;
}

static void
hide_api_keys(char *text)
{
	size_t		length;
	const char *key = text;

	while ((key = find_api_key(key, &length)) != NULL)
	{
		memset(text + (key - text) + 3, '*', length - 3);
		key += length;
	}
}

/* pg_stat_activity shows the client's statement without its secrets. */
static void
hide_activity(void)
{
	char	   *shown = pc_without_secret(debug_query_string);

	if (shown == NULL && holds_api_key(debug_query_string))
		shown = pstrdup(debug_query_string);
	if (shown == NULL)
		return;
	hide_api_keys(shown);
	pgstat_report_activity(STATE_RUNNING, shown);
}

/* A function may run many statements below one that was looked at. */
static void
hide_activity_once(void)
{
	static const char *looked_at = NULL;
	static TimestampTz began = 0;

	if (debug_query_string == looked_at && GetCurrentStatementStartTimestamp() == began)
		return;
	looked_at = debug_query_string;
	began = GetCurrentStatementStartTimestamp();
	hide_activity();
}

static void
hide_secret(char **text)
{
	char	   *hidden = pc_without_secret(*text);

	if (hidden != NULL)
		*text = hidden;
}

static void
hide_context(ErrorData *edata)
{
	char	   *hidden = edata->context ? pc_context_without_secret(edata->context) : NULL;

	if (hidden != NULL)
		edata->context = hidden;
}

/* The values that log_parameter_max_length_on_error puts before the rest of the context. */
static void
hide_parameters(ErrorData *edata)
{
	char	   *values = edata->context ? strstr(edata->context, "with parameters:") : NULL;

	if (values != NULL)
		edata->context = psprintf("%.*s", (int) (values - edata->context), edata->context);
	edata->detail_log = NULL;
}

/*
 * debug_print_parse and the like print the text of a constant as numbers, and
 * from 16 on the options of utility statements as they are.
 */
static bool
prints_secret_tree(const ErrorData *edata, bool statement_holds_secret)
{
	static const char *const titles[] = {"raw parse tree:", "parse tree:", "rewritten parse tree:", "plan:"};

	if (edata->message == NULL || edata->detail == NULL)
		return false;
	for (size_t i = 0; i < lengthof(titles); i++)
		if (strcmp(edata->message, titles[i]) == 0)
			return statement_holds_secret || strstr(edata->detail, "USERMAPPINGSTMT") != NULL ||
				strstr(edata->detail, "FOREIGNSERVERSTMT") != NULL;
	return false;
}

/*
 * log_statement and log_min_duration_statement log before any other hook sees
 * the statement; an error is logged with the statement that raised it.
 */
static void
hide_in_log(ErrorData *edata)
{
	bool		secret = pc_secret_in(debug_query_string) != NULL;

	if (secret || holds_api_key(debug_query_string))
	{
		edata->hide_stmt = true;
		/* One that cannot be parsed reaches no other hook. */
		if (edata->elevel == ERROR && !proc_exit_inprogress)
			hide_activity();
	}
	if (edata->output_to_server)
	{
		if (secret)
			hide_parameters(edata);
		if (prints_secret_tree(edata, secret))
			edata->detail = NULL;
		hide_context(edata);
		hide_secret(&edata->internalquery);
		hide_api_keys(edata->message);
		hide_api_keys(edata->detail);
		hide_api_keys(edata->detail_log);
		hide_api_keys(edata->context);	/* parameters */
		hide_api_keys(edata->internalquery);
	}
	if (edata->elevel == LOG && pc_secret_in(edata->message) != NULL)
	{
		hide_secret(&edata->message);
		edata->detail = edata->detail_log = NULL;	/* parameters */
	}
	if (next_emit_log)
		next_emit_log(edata);
}

/* The first hook that sees a statement: its text shows in pg_stat_activity by now. */
static void
hide_when_analyzed(ParseState *pstate, Query *query, JumbleState *jstate)
{
	hide_activity_once();
	if (next_analyze)
		next_analyze(pstate, query, jstate);
}

/* Where the protocol's Execute has shown the text again. */
static void
hide_when_started(QueryDesc *query, int eflags)
{
	hide_activity_once();
	if (next_start)
		next_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

/* A statement around a query: the query's places in the text must stay what they are. */
static bool
holds_query(Node *stmt)
{
	return IsA(stmt, CopyStmt) || IsA(stmt, CreateTableAsStmt) || IsA(stmt, DeclareCursorStmt) || IsA(stmt, PrepareStmt) ||
		IsA(stmt, ExplainStmt) || IsA(stmt, CallStmt);
}

/* Only the text that others keep is changed: the statement is parsed. */
static PlannedStmt *
hide_in_code(PlannedStmt *pstmt, const char **query)
{
	Node	   *stmt = pstmt->utilityStmt;
	bool		code = IsA(stmt, DoStmt) || IsA(stmt, CreateFunctionStmt);
	int			start = Max(pstmt->stmt_location, 0);
	char	   *text;
	const char *secret;

	if ((!code && !holds_query(stmt)) || pc_secret_in(*query) == NULL)
		return pstmt;
	text = pstmt->stmt_len > 0 ? pnstrdup(*query + start, pstmt->stmt_len) : pstrdup(*query + start);
	if ((secret = pc_secret_in(text)) == NULL)
		return pstmt;
	if (!code)
	{
		char	   *stars;

		/* Our own audit keeps it, too. */
		if (!IsA(stmt, CallStmt) && !pc_may_take_secret())
			return pstmt;
		stars = pstrdup(*query);
		memset(stars + start + (secret - text), '*', strlen(secret));
		*query = stars;
		return pstmt;
	}
	pstmt = copyObject(pstmt);
	pstmt->stmt_location = 0;
	pstmt->stmt_len = 0;
	*query = pc_without_secret(text);
	return pstmt;
}

static void
seal_first(PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context,
		   ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	hide_activity_once();
	pstmt = hide_in_code(pc_seal_mapping(pstmt, &query, &read_only), &query);
	if (next_utility)
		next_utility(pstmt, query, read_only, context, params, env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only, context, params, env, dest, qc);
}

/*
 * Modules that were loaded after this one have put their hooks around ours
 * and would keep the text as it was typed: pg_stat_statements does.
 */
void
pc_hide_from_others(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = seal_first;
}

void
pc_hide_init(void)
{
	next_emit_log = emit_log_hook;
	emit_log_hook = hide_in_log;
	next_analyze = post_parse_analyze_hook;
	post_parse_analyze_hook = hide_when_analyzed;
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = hide_when_started;
}
