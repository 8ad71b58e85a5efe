/*
 * redact.c: where in the text of a statement a secret begins that its writer
 * typed (a password or an option that may be one under a wrong name, the
 * argument of a function that takes a secret), and the text without it.
 */
#include "postgres.h"

#include <ctype.h>

#include "lib/stringinfo.h"
#include "parser/parser.h"
#include "parser/scanner.h"

#include "seal.h"

/* Options of servers, mappings and tables that hold no secret; a misspelt password is none of them. */
static const char *const open_options[] = {
	"driver", "host", "hostaddr", "port", "database", "dbname", "username", "user", "sslmode", "connect_timeout", "busy_timeout",
	"fetch_size", "application_name", "use_remote_estimate", "schema_name", "table_name", "column_name", "data_source",
	"password_sealed", "filename", "format", "header", "delimiter", NULL
};

/* Functions of schema immutasys that are given a secret. */
static const char *const taking[] = {
	"seal", "configure", "set_api_key", "set_admin_key", "service_call", "service_result", "register_server", "create_data_source",
	"drop_data_source", "import_data_sources", "explain_decision", NULL
};

/* Where lists of options stand in constants of others more often, all from there on is hidden. */
#define MAX_NESTED_LISTS 16

static bool
is_word(char c)
{
	return isalnum((unsigned char) c) || c == '_' || c == '$' || (unsigned char) c >= 0x80;
}

/* Is this one of the names, written as a whole word? Its length, or 0. */
static size_t
word_of(const char *text, const char *const *names)
{
	for (; *names != NULL; names++)
	{
		size_t		n = strlen(*names);

		if (pg_strncasecmp(text, *names, n) == 0 && !is_word(text[n]))
			return n;
	}
	return 0;
}

static const char *
skip(const char *text, const char *set)
{
	return text + strspn(text, set);
}

/* Behind a string constant in any quoting, NULL where there is none or it has no end. */
static const char *
behind_constant(const char *text)
{
	bool		escapes = *text == 'e' || *text == 'E';
	const char *tag_end;

	if (*text == '$' && (tag_end = strchr(text + 1, '$')) != NULL)
	{
		char	   *tag = pnstrdup(text, tag_end + 1 - text);
		const char *end = strstr(tag_end + 1, tag);

		return end ? end + strlen(tag) : NULL;
	}
	if (escapes)
		text++;
	if (*text++ != '\'')
		return NULL;
	for (; *text != '\0'; text++)
	{
		if (escapes && *text == '\\' && text[1] != '\0')
			text++;
		else if (*text == '\'' && text[1] == '\'')
			text++;
		else if (*text == '\'')
			return text + 1;
	}
	return NULL;
}

/* In a list of options the end of the first name that is not known to be open; NULL: there is none up to the list's end. */
static const char *
in_options(const char *text, const char **end)
{
	static const char *const actions[] = {"add", "set", NULL};
	static const char *const drop[] = {"drop", NULL};

	for (;;)
	{
		size_t		n;
		bool		drops;
		const char *name;

		text = skip(text, " \t\r\n\f,");
		if (*text == ')' || *text == '\0')
		{
			*end = Max(*end, text);
			return NULL;
		}
		text = skip(text + word_of(text, actions), " \t\r\n\f");
		drops = (n = word_of(text, drop)) > 0;
		name = skip(text + n, " \t\r\n\f\"");
		for (n = 0; is_word(name[n]); n++)
			;
		text = skip(name + n, "\"");
		if (n == 0 || (!drops && word_of(name, open_options) == 0))
			return text;
		if (!drops && (text = behind_constant(skip(text, " \t\r\n\f"))) == NULL)
			return name + n;
	}
}

static const char *
option_secret(const char *text)
{
	const char *found = NULL;
	const char *at = text;
	const char *end = text;		/* of the lists seen so far */
	int			nested = 0;

	if (strcasestr(text, "options") == NULL || (strcasestr(text, "mapping") == NULL && strcasestr(text, "server") == NULL))
		return NULL;
	while (found == NULL && (at = strcasestr(at, "options")) != NULL)
	{
		at = skip(at + strlen("options"), " \t\r\n\f");
		if (*at != '(')
			continue;
		/* Each list in a constant of another one is read once more, and nothing can interrupt that. */
		if (at < end && ++nested > MAX_NESTED_LISTS)
			return at + 1;
		found = in_options(at + 1, &end);
	}
	return found;
}

static const char *
skip_blank(const char *text)
{
	return skip(text, " \t\r\n\f\v");
}

static bool
is_comment(const char *text)
{
	return (text[0] == '-' && text[1] == '-') || (text[0] == '/' && text[1] == '*');
}

/* A character of a name in U&"…", which is escaped as \0041 or \+000041. */
static char
unescaped(const char **text)
{
	int			digits = (*text)[1] == '+' ? 6 : 4;
	const char *first = *text + (digits == 6 ? 2 : 1);
	char		hex[7];
	long		code;

	if (**text != '\\' || strspn(first, "0123456789abcdefABCDEF") < digits)
		return *(*text)++;
	strlcpy(hex, first, digits + 1);
	code = strtol(hex, NULL, 16);
	*text = first + digits;
	return code < 0x80 ? (char) code : '?';
}

/*
 * Reads a name as SQL does, cut where it is longer than any of interest.
 * Returns its end, NULL where none begins.  One that may have an escape of its
 * own (UESCAPE) may be any name: *any.
 */
static const char *
read_name(const char *text, char *name, bool *any)
{
	bool		unicode = (text[0] == 'U' || text[0] == 'u') && text[1] == '&' && text[2] == '"';
	bool		quoted = unicode || *text == '"';
	static const char *const uescape[] = {"uescape", NULL};
	size_t		n = 0;

	*any = false;
	if (!quoted && !is_word(*text))
		return NULL;
	text += unicode ? 3 : quoted ? 1 : 0;
	while (quoted ? *text != '\0' && *text != '"' : is_word(*text))
	{
		char		c = unicode ? unescaped(&text) : *text++;

		if (n < NAMEDATALEN - 1)
			name[n++] = quoted ? c : pg_ascii_tolower((unsigned char) c);
	}
	name[n] = '\0';
	if (quoted && *text == '"')
		text++;
	*any = unicode && (is_comment(skip_blank(text)) || word_of(skip_blank(text), uescape) > 0);
	return text;
}

static bool
is_taking(const char *name)
{
	for (const char *const *known = taking; *known != NULL; known++)
		if (strcmp(name, *known) == 0)
			return true;
	return false;
}

/*
 * Where the schema's name begins: behind the name of a function of it that
 * takes a secret.  What may be one and would take longer to read counts as one.
 */
static const char *
behind_taking(const char *at)
{
	char		name[NAMEDATALEN];
	bool		any;

	if ((at = read_name(at, name, &any)) == NULL || (!any && strcmp(name, "immutasys") != 0))
		return NULL;
	at = skip_blank(at);
	if (any || is_comment(at))
		return at;
	if (*at != '.')
		return NULL;
	at = skip_blank(at + 1);
	if (is_comment(at))
		return at;
	at = read_name(at, name, &any);
	return at != NULL && (any || is_taking(name)) ? at : NULL;
}

/* Behind the first name of a function that takes a secret. */
static const char *
argument_secret(const char *text)
{
	static const char *const plain[] = {"set_api_key", "set_admin_key", NULL};
	const char *found;

	if (strcasestr(text, "immutasys") != NULL || strcasestr(text, "u&\"") != NULL)
		for (const char *at = text; *at != '\0'; at++)
			if ((at == text || !is_word(at[-1])) && (found = behind_taking(at)) != NULL)
				return found;
	for (const char *const *name = plain; *name != NULL; name++)
		if ((found = strcasestr(text, *name)) != NULL)
			return found + strlen(*name);
	return NULL;
}

const char *
pc_secret_in(const char *text)
{
	const char *first = NULL;
	const char *found[3] = {NULL, NULL, NULL};

	if (text == NULL)
		return NULL;
	if (strcasestr(text, "mapping") != NULL && (found[0] = strcasestr(text, "password")) != NULL)
		found[0] += strlen("password");
	found[1] = option_secret(text);
	found[2] = argument_secret(text);
	for (int i = 0; i < 3; i++)
		if (found[i] != NULL && (first == NULL || found[i] < first))
			first = found[i];
	return first;
}

/* By its first characters: the numbers of tokens are not for modules. */
static bool
is_constant(const char *token)
{
	return isdigit((unsigned char) *token) || (*token == '.' && isdigit((unsigned char) token[1])) ||
		(*token == '$' && !isdigit((unsigned char) token[1])) || (*token != '"' && strchr(token, '\'') != NULL);
}

/*
 * What stands before the place stays as it was typed, but for its constants:
 * they may be the secret, too.  A token or comment that the place lies in
 * counts as behind it.  Raises where the text ends in mid-token.
 */
static char *
without_constants_from(const char *text, size_t from, bool conforming)
{
	core_yy_extra_type extra;
	core_YYSTYPE value;
	YYLTYPE		at;
	StringInfoData shown;
	size_t		kept = 0;		/* so much of the text is shown, or left out */
	core_yyscan_t scanner = scanner_init(text, &extra, &ScanKeywords, ScanKeywordTokens);

	extra.standard_conforming_strings = conforming;
	extra.escape_string_warning = false;
	extra.backslash_quote = BACKSLASH_QUOTE_ON;
	initStringInfo(&shown);
	while (core_yylex(&value, &at, scanner) != 0)
	{
		const char *token = extra.scanbuf + at; /* the scanner ends it with a NUL until it goes on */
		size_t		end = at + strlen(token);

		if (end > from)
			appendStringInfo(&shown, " %s", is_constant(token) ? "'********'" : token);
		else
		{
			appendBinaryStringInfo(&shown, text + kept, at - kept);
			appendStringInfoString(&shown, is_constant(token) ? "'********'" : token);
			kept = end;
		}
	}
	scanner_finish(scanner);
	return shown.data;
}

/* The setting of when it was parsed is not known: both must find the same tokens. */
static char *
without_constants(const char *text, size_t from)
{
	MemoryContext old = CurrentMemoryContext;
	char	   *volatile shown = NULL;

	PG_TRY();
	{
		char	   *other = without_constants_from(text, from, !standard_conforming_strings);

		shown = without_constants_from(text, from, standard_conforming_strings);
		if (strcmp(shown, other) != 0)
			shown = NULL;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		FlushErrorState();
		shown = NULL;
	}
	PG_END_TRY();
	return shown;
}

char *
pc_without_constants(char *text)
{
	const char *secret = pc_secret_in(text);
	char	   *shown;

	if (secret == NULL)
		return text;
	shown = without_constants(text, secret - text);
	/* Else nothing is shown from where a constant may begin. */
	return shown ? shown : pc_cut_statement(text, Min(secret - text, strcspn(text, "'$")));
}
