/*
 * redact.c: where in the text of a statement a secret begins that its writer
 * typed: a password or an option that may be one under a wrong name, the
 * argument of a function that takes a secret.
 */
#include "postgres.h"

#include <ctype.h>

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

/* In a list of options the end of the first name that is not known to be open. */
static const char *
in_options(const char *text)
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
			return NULL;
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

	if (strcasestr(text, "options") == NULL || (strcasestr(text, "mapping") == NULL && strcasestr(text, "server") == NULL))
		return NULL;
	while (found == NULL && (at = strcasestr(at, "options")) != NULL)
	{
		at = skip(at + strlen("options"), " \t\r\n\f");
		if (*at == '(')
			found = in_options(at + 1);
	}
	return found;
}

/* Behind the name of a function that takes a secret. */
static const char *
argument_secret(const char *text)
{
	static const char *const plain[] = {"set_api_key", "set_admin_key", NULL};
	const char *at;

	for (at = text; (at = strcasestr(at, "immutasys")) != NULL;)
	{
		size_t		n;

		at = skip(at + strlen("immutasys"), "\". \t\r\n\f");
		if ((n = word_of(at, taking)) > 0)
			return at + n;
	}
	for (const char *const *name = plain; *name != NULL; name++)
		if ((at = strcasestr(text, *name)) != NULL)
			return at + strlen(*name);
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

char *
pc_without_secret(const char *text)
{
	const char *secret = pc_secret_in(text);

	return secret ? psprintf("%.*s '********')", (int) (secret - text), text) : NULL;
}
