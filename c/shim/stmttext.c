/*
 * stmttext.c: the text of a statement for its audit record: as it was typed,
 * with the comments in front of it, and nothing of the statements that stand
 * beside it in the same text.
 *
 * PostgreSQL tells a statement's place in its text only of what it parsed as a
 * statement: not of a query inside another statement (EXPLAIN, DECLARE), and
 * not of what a rule adds.  Their text is the statement around them.  A body
 * that was parsed when its function was made (BEGIN ATOMIC) has no text at all:
 * there it is the statement that calls it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "parser/parser.h"
#include "parser/scanner.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/portal.h"

#include "govern.h"

PlannedStmt *pc_current_utility = NULL;
const char *pc_current_utility_text = NULL;

/* What PostgreSQL's scanner finds in a text. */
typedef struct
{
	int			semicolon;		/* behind the last one that is no part of anything, 0: there is none */
	bool		open;			/* tokens follow it */
} pc_tokens;

static pc_tokens
scan(const char *text, bool conforming)
{
	core_yy_extra_type extra;
	core_YYSTYPE value;
	YYLTYPE		at;
	int			token;
	pc_tokens	found = {0, false};
	core_yyscan_t scanner = scanner_init(text, &extra, &ScanKeywords, ScanKeywordTokens);

	extra.standard_conforming_strings = conforming;
	extra.escape_string_warning = false;	/* was given when it was parsed */
	extra.backslash_quote = BACKSLASH_QUOTE_ON;
	while ((token = core_yylex(&value, &at, scanner)) != 0)
	{
		found.open = token != ';';
		if (token == ';')
			found.semicolon = at + 1;
	}
	scanner_finish(scanner);
	return found;
}

/* false: the text ends inside a constant or comment. */
static bool
try_scan(const char *text, int length, bool conforming, pc_tokens *found)
{
	MemoryContext old = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(old, "portcullis scan", ALLOCSET_DEFAULT_SIZES);
	volatile bool done = false;

	PG_TRY();
	{
		MemoryContextSwitchTo(scratch);
		*found = scan(pnstrdup(text, length), conforming);
		done = true;
	}
	PG_CATCH();
	{
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return done;
}

/*
 * From 18 on a statement's place is its first token, before that the end of
 * the semicolon before it, which this returns.  standard_conforming_strings
 * may have changed since the text was parsed; where neither value makes the
 * text end with a semicolon, the comments are lost.
 */
static int
beginning(const char *text, int location)
{
	static const char *message = NULL;	/* what is already known of the client's message */
	static TimestampTz began = 0;
	static int	known = 0;
	bool		of_message = text == debug_query_string;
	pc_tokens	found;
	int			from = 0;

	if (memrchr(text, ';', location) == NULL)
		return 0;
	if (text[location - 1] == ';')
		return location;
	if (of_message && message == text && began == GetCurrentStatementStartTimestamp() && known <= location)
		from = known;
	for (int i = 0; i < 2; i++)
	{
		if (!try_scan(text + from, location - from, standard_conforming_strings == (i == 0), &found) || found.open)
			continue;
		from += found.semicolon;
		if (of_message)
		{
			message = text;
			began = GetCurrentStatementStartTimestamp();
			known = from;
		}
		return from;
	}
	return location;
}

/* Is nothing but this one statement in the text, by the setting of now or the one that it may have been parsed with? */
static bool
holds_one(const char *text)
{
	pc_tokens	found;

	for (int i = 0; i < 2; i++)
		if (try_scan(text, strlen(text), standard_conforming_strings == (i == 0), &found) && (found.semicolon == 0 || !found.open))
			return true;
	return false;
}

static bool
has_place(const PlannedStmt *stmt)
{
	return stmt->stmt_location > 0 || (stmt->stmt_location == 0 && stmt->stmt_len > 0);
}

static char *
cut(const char *text, const PlannedStmt *stmt)
{
	int			total = strlen(text);
	int			location = Min(stmt->stmt_location, total);
	int			start = beginning(text, location);
	int			end = stmt->stmt_len > 0 ? Min(location + stmt->stmt_len, total) : total;

	return pnstrdup(text + start, end - start);
}

/* The statement with a place that runs what has none: a utility statement, or what a rule was applied to. */
static const PlannedStmt *
statement_around(const char *text)
{
	ListCell   *lc;

	if (pc_current_utility != NULL && has_place(pc_current_utility) && strcmp(pc_current_utility_text, text) == 0)
		return pc_current_utility;
	if (ActivePortal == NULL || ActivePortal->sourceText == NULL || strcmp(ActivePortal->sourceText, text) != 0)
		return NULL;
	foreach(lc, ActivePortal->stmts)
		if (has_place(lfirst(lc)))
			return lfirst(lc);
	return NULL;
}

char *
pc_statement_text(const QueryDesc *query)
{
	const char *text = query->sourceText;
	const PlannedStmt *stmt = query->plannedstmt;

	if (text != NULL && *text == '\0' && ActivePortal != NULL)
	{
		text = ActivePortal->sourceText;
		stmt = text ? statement_around(text) : NULL;
	}
	if (text == NULL)
		return pstrdup("");
	if (strchr(text, ';') == NULL)
		return pstrdup(text);
	if (stmt != NULL && !has_place(stmt))
		stmt = statement_around(text);
	if (stmt != NULL)
		return cut(text, stmt);
	return pstrdup(holds_one(text) ? text : "");
}
