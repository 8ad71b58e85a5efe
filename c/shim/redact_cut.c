/*
 * redact_cut.c: texts that end where a secret may begin, made whole again: who
 * reads them, and what parses logs, finds each quote and parenthesis closed.
 */
#include "postgres.h"

#include <ctype.h>

#include "lib/stringinfo.h"

#include "seal.h"

#define STARS "********"

/* Code in code deeper than that is not closed: each level is read anew. */
#define MAX_NESTED_CODE 8

/* What of a text is open at its end. */
typedef struct
{
	int			parentheses;
	int			comments;		/* nested ones */
	char		quote;			/* ' or " or $, 0: none */
	bool		line;			/* a comment to the line's end */
	const char *tag;			/* of $…$, and what it quotes follows it */
	int			taglen;
} pc_open;

/* The length of $tag$, 0 where none begins. */
static int
dollar_tag(const char *text)
{
	int			n = 1;

	if (isdigit((unsigned char) text[1]))
		return 0;
	while (isalnum((unsigned char) text[n]) || text[n] == '_' || (unsigned char) text[n] >= 0x80)
		n++;
	return text[n] == '$' ? n + 1 : 0;
}

/* Behind the end of what begins at text, NULL: it is open at the text's end. */
static const char *
behind_quoted(const char *text, bool escapes, pc_open *open)
{
	const char *end = text;

	open->quote = *text;
	if (*text == '$')
	{
		char	   *tag = pnstrdup(text, open->taglen);

		open->tag = text;
		if ((end = strstr(text + open->taglen, tag)) == NULL)
			return NULL;
		end += open->taglen - 1;
	}
	else
		for (end++; *end != open->quote; end++)
		{
			if (escapes && *end == '\\' && end[1] != '\0')
				end++;
			if (*end == '\0')
				return NULL;
		}
	open->quote = 0;
	return end + 1;				/* a doubled quote opens it again */
}

static pc_open
open_at_end(const char *text)
{
	pc_open		open = {0};
	const char *begin = text;

	while (text != NULL && *text != '\0')
	{
		bool		joined = text > begin && (isalnum((unsigned char) text[-1]) || text[-1] == '_');

		if (open.line)
			open.line = *text != '\n';
		else if (text[0] == '/' && text[1] == '*')
			open.comments++, text++;
		else if (open.comments > 0)
		{
			if (text[0] == '*' && text[1] == '/')
				open.comments--, text++;
		}
		else if (text[0] == '-' && text[1] == '-')
			open.line = true;
		else if (*text == '\'' || *text == '"' ||
				 (*text == '$' && !joined && (open.taglen = dollar_tag(text)) > 0))
		{
			text = behind_quoted(text, *text == '\'' && joined && (text[-1] == 'E' || text[-1] == 'e'), &open);
			continue;
		}
		else if (*text == '(' || *text == ')')
			open.parentheses = Max(open.parentheses + (*text == '(' ? 1 : -1), 0);
		text++;
	}
	return open;
}

/* The text with stars in the place of what followed, call: an argument list. */
static void
append_closed(StringInfo shown, const char *text, bool call, int level)
{
	pc_open		open = open_at_end(text);

	if (open.quote == '$' && level < MAX_NESTED_CODE)
	{
		appendBinaryStringInfo(shown, text, open.tag + open.taglen - text);
		append_closed(shown, open.tag + open.taglen, call, level + 1);	/* code has quotes of its own */
		appendStringInfo(shown, "%.*s", open.taglen, open.tag);
	}
	else
	{
		appendStringInfoString(shown, text);
		if (open.quote == '\'')
			appendStringInfoString(shown, " " STARS "'");
		else if (open.line || open.comments > 0 || open.quote == '$')
			appendStringInfoString(shown, " " STARS);
		else
		{
			bool		apart = shown->len == 0 || isspace((unsigned char) shown->data[shown->len - 1]);

			if (open.quote == '"')
				appendStringInfoChar(shown, '"');
			appendStringInfoString(shown, call ? "('" STARS "')" : apart ? "'" STARS "'" : " '" STARS "'");
		}
	}
	while (open.comments-- > 0)
		appendStringInfoString(shown, " */");
	while (open.parentheses-- > 0)
		appendStringInfoChar(shown, ')');
}

char *
pc_cut_statement(const char *text, size_t length)
{
	StringInfoData shown;
	const char *rest = text + length;

	rest += *rest == '"' ? 1 : 0;
	initStringInfo(&shown);
	append_closed(&shown, pnstrdup(text, length), rest[strspn(rest, " \t\r\n\f")] == '(', 0);
	return shown.data;
}

char *
pc_without_secret(const char *text)
{
	const char *secret = pc_secret_in(text);

	return secret ? pc_cut_statement(text, secret - text) : NULL;
}

/* A line of a context that names a function and a place in it, and holds nothing else. */
static bool
is_frame(const char *line, size_t length)
{
	static const char *const begins[] = {"PL/pgSQL function ", "SQL function \""};
	static const char *const says[] = {") line ", ") during ", ") while ", "\" statement ", "\" during "};
	char	   *text = pnstrdup(line, length);
	bool		begun = false;
	bool		said = false;

	for (size_t i = 0; i < lengthof(begins); i++)
		begun = begun || strncmp(text, begins[i], strlen(begins[i])) == 0;
	for (size_t i = 0; i < lengthof(says); i++)
		said = said || strstr(text, says[i]) != NULL;
	said = said || strncmp(text, "PL/pgSQL function inline_code_block ", 36) == 0;
	return begun && said && strchr(text, '\'') == NULL;
}

/* A statement as a context shows it: between quotes of the context's own. */
static void
append_quoted(StringInfo shown, const char *entry, const char *secret)
{
	const char *quote = strchr(entry, '"');
	size_t		length = strlen(entry);

	if (quote == NULL || quote > secret || entry[length - 1] != '"')
		appendStringInfoString(shown, pc_cut_statement(entry, secret - entry));
	else
		appendStringInfo(shown, "%.*s%s\"", (int) (quote + 1 - entry), entry, pc_cut_statement(quote + 1, secret - quote - 1));
}

char *
pc_context_without_secret(const char *context)
{
	StringInfoData shown;
	bool		hidden = false;

	if (pc_secret_in(context) == NULL)
		return NULL;
	initStringInfo(&shown);
	while (*context != '\0')
	{
		size_t		length = strcspn(context, "\n");
		bool		frame = is_frame(context, length);
		const char *secret;
		char	   *entry;

		/* A statement goes on to the next line that names a place. */
		while (!frame && context[length] == '\n' && !is_frame(context + length + 1, strcspn(context + length + 1, "\n")))
			length += 1 + strcspn(context + length + 1, "\n");
		entry = pnstrdup(context, length);
		context += length + (context[length] == '\n' ? 1 : 0);
		/* Behind a secret only places are shown: it may hold lines itself. */
		if (!frame && hidden)
			continue;
		if (shown.len > 0)
			appendStringInfoChar(&shown, '\n');
		if (frame || (secret = pc_secret_in(entry)) == NULL)
			appendStringInfoString(&shown, entry);
		else
		{
			append_quoted(&shown, entry, secret);
			hidden = true;
		}
	}
	return shown.data;
}
