/*
 * convert.c: numbers, booleans and dates from text, for drivers whose native
 * binds are not to be trusted.  What is not exactly such a value is an error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include "cursor.h"

static bool
digits(const char **p, int32_t min, int32_t max, int64_t *out)
{
	int32_t		n = 0;

	*out = 0;
	while (n < max && **p >= '0' && **p <= '9')
	{
		*out = *out * 10 + (**p - '0');
		(*p)++;
		n++;
	}
	return n >= min;
}

static bool
read_date(const char **p, SQLSMALLINT *year, SQLUSMALLINT *month, SQLUSMALLINT *day)
{
	int64_t		y, m, d;

	if (!digits(p, 4, 4, &y) || *(*p)++ != '-' || !digits(p, 2, 2, &m) ||
		*(*p)++ != '-' || !digits(p, 2, 2, &d))
		return false;
	*year = (SQLSMALLINT) y;
	*month = (SQLUSMALLINT) m;
	*day = (SQLUSMALLINT) d;
	return m >= 1 && m <= 12 && d >= 1 && d <= 31;
}

static bool
read_time(const char **p, SQL_TIMESTAMP_STRUCT *t)
{
	int64_t		h, m, s, f = 0;

	if (!digits(p, 2, 2, &h) || *(*p)++ != ':' || !digits(p, 2, 2, &m) ||
		*(*p)++ != ':' || !digits(p, 2, 2, &s) || h > 23 || m > 59 || s > 59)
		return false;
	if (**p == '.')
	{
		const char *start = ++(*p);

		if (!digits(p, 1, 9, &f))
			return false;
		for (long n = *p - start; n < 9; n++)
			f *= 10;
	}
	t->hour = (SQLUSMALLINT) h;
	t->minute = (SQLUSMALLINT) m;
	t->second = (SQLUSMALLINT) s;
	t->fraction = (SQLUINTEGER) f;
	return true;
}

static bool
read_double(const char *text, const char *end, double *out)
{
	static locale_t c_locale;	/* made once; a second one made by a race is only lost */
	char	   *stop;

	if (c_locale == (locale_t) 0)
		c_locale = newlocale(LC_ALL_MASK, "C", (locale_t) 0);
	*out = strtod_l(text, &stop, c_locale);
	return stop == end && stop != text;
}

static bool
read_bool(const char *text, uint8_t *out)
{
	*out = text[0] == '1' || text[0] == 't' || text[0] == 'T';
	return strcmp(text, "0") == 0 || strcmp(text, "1") == 0 ||
		strcasecmp(text, "true") == 0 || strcasecmp(text, "false") == 0 ||
		strcasecmp(text, "t") == 0 || strcasecmp(text, "f") == 0;
}

/* text is NUL-terminated and len bytes long; writes the native value to "to". */
int
pc_from_text(pc_cursor *c, int32_t col, const char *text, int64_t len, void *to)
{
	const char *end = text + len;
	const char *p = text;
	char	   *stop = NULL;
	bool		ok = false;

	errno = 0;
	switch (c->cols[col].kind)
	{
		case PC_KIND_INT64:
			*(int64_t *) to = strtoll(text, &stop, 10);
			ok = errno == 0 && stop == end && len > 0;
			break;
		case PC_KIND_UINT64:
			*(uint64_t *) to = strtoull(text, &stop, 10);
			ok = errno == 0 && stop == end && len > 0 && text[0] != '-';
			break;
		case PC_KIND_FLOAT64:
			ok = read_double(text, end, (double *) to);
			break;
		case PC_KIND_BOOL:
			ok = read_bool(text, (uint8_t *) to);
			break;
		case PC_KIND_DATE:
			{
				SQL_DATE_STRUCT *d = to;

				ok = read_date(&p, &d->year, &d->month, &d->day) && p == end;
				break;
			}
		case PC_KIND_TIMESTAMP:
			{
				SQL_TIMESTAMP_STRUCT *t = to;

				memset(t, 0, sizeof(*t));
				ok = read_date(&p, &t->year, &t->month, &t->day) &&
					(p == end || ((*p == ' ' || *p == 'T') && (p++, read_time(&p, t)) && p == end));
				break;
			}
	}
	if (ok)
		return 0;
	return pc_own_error(c, "22018", "a value of column %d is not of the type asked for", col + 1);
}
