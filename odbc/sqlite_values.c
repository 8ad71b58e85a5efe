/*
 * sqlite_values.c: functions through which values leave SQLite.
 *
 * The driver turns every value into text, doubles into 15 digits and text only
 * up to a NUL, and SQLite lets any column hold any type of value.  Each of
 * these functions takes a value and the type that its column is declared
 * with, and returns the value so that it survives the driver, NULL for NULL,
 * and an error for what is none of that type:
 *
 *	portcullis_integer	integers
 *	portcullis_boolean	0 and 1
 *	portcullis_double	the bits of a double, as an integer; integers up to 2^53
 *	portcullis_numeric	integers, texts, doubles by as many digits as they need
 *	portcullis_bytes	blobs
 *	portcullis_string	texts
 *	portcullis_text		texts, and numbers as SQLite prints them
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sqlite.h"

/* sqlite3.h */
#define SQLITE_INTEGER		1
#define SQLITE_FLOAT		2
#define SQLITE_TEXT			3
#define SQLITE_BLOB			4
#define SQLITE_NULL			5
#define SQLITE_UTF8			1
#define SQLITE_DETERMINISTIC 0x800
#define SQLITE_DIRECTONLY	0x80000		/* not from the schema of a file */
#define SQLITE_TRANSIENT	((void (*) (void *)) -1)

/* Integers up to this size are exact as double. */
#define DOUBLE_EXACT		INT64_C(9007199254740992)

typedef struct sqlite3_context sqlite3_context;
typedef struct sqlite3_value sqlite3_value;
typedef void (*function) (sqlite3_context *, int, sqlite3_value **);

static struct
{
	int			(*create_function) (struct sqlite3 *, const char *, int, int, void *, function, function, void (*) (sqlite3_context *));
	char	   *(*snprintf) (int, char *, const char *,...);
	int			(*value_type) (sqlite3_value *);
	int64_t		(*value_int64) (sqlite3_value *);
	double		(*value_double) (sqlite3_value *);
	int			(*value_bytes) (sqlite3_value *);
	const void *(*value_blob) (sqlite3_value *);
	const unsigned char *(*value_text) (sqlite3_value *);
	void		(*result_int64) (sqlite3_context *, int64_t);
	void		(*result_text) (sqlite3_context *, const char *, int, void (*) (void *));
	void		(*result_value) (sqlite3_context *, sqlite3_value *);
	void		(*result_error) (sqlite3_context *, const char *, int);
}			api;

static locale_t c_locale;

/* The quotes are those that package fdw looks for. */
static void
refuse(sqlite3_context *ctx, const char *what, sqlite3_value *declared)
{
	const unsigned char *type = api.value_text(declared);
	char		message[200];

	snprintf(message, sizeof(message), "'portcullis: %s in a column declared as %s'", what,
			 type != NULL ? (const char *) type : "another");
	api.result_error(ctx, message, -1);
}

static void
other_type(sqlite3_context *ctx, sqlite3_value *declared)
{
	refuse(ctx, "another type of value", declared);
}

static void
integer(sqlite3_context *ctx, int argc, sqlite3_value **arg)
{
	(void) argc;
	switch (api.value_type(arg[0]))
	{
		case SQLITE_INTEGER:
			api.result_int64(ctx, api.value_int64(arg[0]));
			return;
		case SQLITE_NULL:
			return;				/* NULL is what a function that says nothing returns */
	}
	other_type(ctx, arg[1]);
}

static void
boolean(sqlite3_context *ctx, int argc, sqlite3_value **arg)
{
	int			type = api.value_type(arg[0]);
	int64_t		value = type == SQLITE_INTEGER ? api.value_int64(arg[0]) : -1;

	(void) argc;
	if (value == 0 || value == 1)
		api.result_int64(ctx, value);
	else if (type != SQLITE_NULL)
		refuse(ctx, "something else than 0 and 1", arg[1]);
}

static int64_t
bits_of(double d)
{
	int64_t		bits;

	memcpy(&bits, &d, sizeof(bits));
	return bits;
}

static void
double_bits(sqlite3_context *ctx, int argc, sqlite3_value **arg)
{
	int64_t		i;

	(void) argc;
	switch (api.value_type(arg[0]))
	{
		case SQLITE_FLOAT:
			api.result_int64(ctx, bits_of(api.value_double(arg[0])));
			return;
		case SQLITE_INTEGER:
			i = api.value_int64(arg[0]);
			if (i >= -DOUBLE_EXACT && i <= DOUBLE_EXACT)
				api.result_int64(ctx, bits_of((double) i));
			else
				refuse(ctx, "an integer above 2^53", arg[1]);
			return;
		case SQLITE_NULL:
			return;
	}
	other_type(ctx, arg[1]);
}

/*
 * Doubles that are some millionths, as amounts are: the quotient of two exact
 * doubles is the double next to the decimal, so that is what was written.
 * Returns the length of its text, 0 if d is none.
 */
static int
short_decimal(double d, char *text, size_t size)
{
	double		magnitude = fabs(d);
	long long	n;
	int			len;

	if (!(magnitude < 1e9) || (d == 0 && signbit(d)))
		return 0;
	n = (long long) (magnitude * 1e6 + 0.5);
	if ((double) n / 1e6 != magnitude)
		return 0;
	len = snprintf(text, size, "%s%lld.%06lld", d < 0 ? "-" : "", n / 1000000, n % 1000000);
	while (text[len - 1] == '0' && text[len - 2] != '.')
		len--;
	return len;
}

/*
 * Fifteen digits where they give back the same double; else seventeen, which
 * always do, or all digits of a whole number.  Those are the C library's: SQLite's
 * own printf is inexact beyond fifteen.
 */
static void
decimal(sqlite3_context *ctx, double d)
{
	char		text[400];
	int			len = short_decimal(d, text, sizeof(text));

	if (len == 0)
	{
		api.snprintf(sizeof(text), text, "%!.15g", d);
		if (strtod_l(text, NULL, c_locale) != d)
		{
			locale_t	before = uselocale(c_locale);

			snprintf(text, sizeof(text), d == trunc(d) ? "%.1f" : "%.17g", d);
			uselocale(before);
		}
		len = (int) strlen(text);
	}
	api.result_text(ctx, text, len, SQLITE_TRANSIENT);
}

/* Passes a text on; the driver would cut it at a NUL. */
static void
whole_text(sqlite3_context *ctx, sqlite3_value **arg)
{
	int			len = api.value_bytes(arg[0]);
	const void *text;

	api.result_value(ctx, arg[0]);
	text = api.value_blob(arg[0]);
	if (len > 0 && text != NULL && memchr(text, 0, (size_t) len) != NULL)
		refuse(ctx, "a NUL character", arg[1]);
}

static void
numeric(sqlite3_context *ctx, int argc, sqlite3_value **arg)
{
	(void) argc;
	switch (api.value_type(arg[0]))
	{
		case SQLITE_INTEGER:
			api.result_int64(ctx, api.value_int64(arg[0]));
			return;
		case SQLITE_FLOAT:
			decimal(ctx, api.value_double(arg[0]));
			return;
		case SQLITE_TEXT:
			whole_text(ctx, arg);
			return;
		case SQLITE_NULL:
			return;
	}
	other_type(ctx, arg[1]);
}

static void
bytes(sqlite3_context *ctx, int argc, sqlite3_value **arg)
{
	int			type = api.value_type(arg[0]);

	(void) argc;
	if (type == SQLITE_BLOB)
		api.result_value(ctx, arg[0]);
	else if (type != SQLITE_NULL)
		other_type(ctx, arg[1]);
}

static void
string(sqlite3_context *ctx, int argc, sqlite3_value **arg)
{
	int			type = api.value_type(arg[0]);

	(void) argc;
	if (type == SQLITE_TEXT)
		whole_text(ctx, arg);
	else if (type != SQLITE_NULL)
		other_type(ctx, arg[1]);
}

static void
any_text(sqlite3_context *ctx, int argc, sqlite3_value **arg)
{
	(void) argc;
	switch (api.value_type(arg[0]))
	{
		case SQLITE_TEXT:
			whole_text(ctx, arg);
			return;
		case SQLITE_BLOB:
			refuse(ctx, "a blob", arg[1]);
			return;
		case SQLITE_NULL:
			return;
	}
	api.result_value(ctx, arg[0]);	/* the driver asks for its text */
}

static const struct
{
	const char *name;
	function	call;
}			functions[] = {
	{"portcullis_integer", integer},
	{"portcullis_boolean", boolean},
	{"portcullis_double", double_bits},
	{"portcullis_numeric", numeric},
	{"portcullis_bytes", bytes},
	{"portcullis_string", string},
	{"portcullis_text", any_text},
};

int
pc_sqlite_find_functions(void *driver)
{
	const struct
	{
		const char *name;
		void	   *to;
	}			wanted[] = {
		{"sqlite3_create_function", &api.create_function},
		{"sqlite3_snprintf", &api.snprintf},
		{"sqlite3_value_type", &api.value_type},
		{"sqlite3_value_int64", &api.value_int64},
		{"sqlite3_value_double", &api.value_double},
		{"sqlite3_value_bytes", &api.value_bytes},
		{"sqlite3_value_blob", &api.value_blob},
		{"sqlite3_value_text", &api.value_text},
		{"sqlite3_result_int64", &api.result_int64},
		{"sqlite3_result_text", &api.result_text},
		{"sqlite3_result_value", &api.result_value},
		{"sqlite3_result_error", &api.result_error},
	};

	if (c_locale == (locale_t) 0)
		c_locale = newlocale(LC_ALL_MASK, "C", (locale_t) 0);
	if (c_locale == (locale_t) 0)
		return 0;
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
	{
		void	   *found = dlsym(driver, wanted[i].name);

		if (found == NULL)
			return 0;
		memcpy(wanted[i].to, &found, sizeof(found));
	}
	return 1;
}

int
pc_sqlite_add_functions(struct sqlite3 *db)
{
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
	{
		int			rc = api.create_function(db, functions[i].name, 2, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY,
											 NULL, functions[i].call, NULL, NULL);

		if (rc != 0)
			return rc;
	}
	return 0;
}
