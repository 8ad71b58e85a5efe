/*
 * convert_time.c: dates and timestamps, from ODBC's structs and from ISO
 * text. A timestamptz without an offset is UTC: the library sets remote
 * sessions to it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "convert.h"

/* As in unixODBC's sqltypes.h, which cannot be included beside postgres.h. */
typedef struct sql_date
{
	int16_t		year;
	uint16_t	month;
	uint16_t	day;
} sql_date;

typedef struct sql_timestamp
{
	int16_t		year;
	uint16_t	month;
	uint16_t	day;
	uint16_t	hour;
	uint16_t	minute;
	uint16_t	second;
	uint32_t	fraction;		/* ns */
} sql_timestamp;

#define AT(type, src, i) ((const type *) ((src)->data + (Size) (i) * (src)->width))

/* One ISO date and time; offset in seconds east of UTC. */
typedef struct iso_time
{
	int			year;
	int			month;
	int			day;
	int			hour;
	int			minute;
	int			second;
	int			micros;
	bool		has_time;
	bool		has_offset;
	int			offset;
} iso_time;

static bool parse_iso(const char *at, Size len, iso_time *t);
static bool valid_date(int year, int month, int day);
static Timestamp timestamp_of(const iso_time *t);
static void check_precision(pc_value *v, Timestamp ts);
static void not_a_time(pc_value *v) __attribute__((noreturn));

static Datum
struct_to_date(pc_value *v, const pc_column *src, int i)
{
	const sql_date *d = AT(sql_date, src, i);

	if (!valid_date(d->year, d->month, d->day))
		not_a_time(v);
	return DateADTGetDatum(date2j(d->year, d->month, d->day) - POSTGRES_EPOCH_JDATE);
}

static Datum
struct_to_timestamp(pc_value *v, const pc_column *src, int i)
{
	const sql_timestamp *s = AT(sql_timestamp, src, i);
	iso_time	t = {.year = s->year, .month = s->month, .day = s->day,
		.hour = s->hour, .minute = s->minute, .second = s->second,
	.micros = (int) (s->fraction / 1000)};
	Timestamp	ts;

	if (!valid_date(t.year, t.month, t.day) || t.hour > 23 || t.minute > 59 || t.second > 59 ||
		s->fraction > 999999999)
		not_a_time(v);
	if (s->fraction % 1000 != 0)
		pc_does_not_fit(v, psprintf("%u ns", s->fraction));
	ts = timestamp_of(&t);
	check_precision(v, ts);
	return TimestampGetDatum(ts);
}

/* A timestamp for a date column: only midnight is a date. */
static Datum
struct_timestamp_to_date(pc_value *v, const pc_column *src, int i)
{
	const sql_timestamp *s = AT(sql_timestamp, src, i);

	if (!valid_date(s->year, s->month, s->day))
		not_a_time(v);
	if (s->hour || s->minute || s->second || s->fraction)
		pc_does_not_fit(v, psprintf("%04d-%02u-%02u %02u:%02u:%02u", s->year, s->month, s->day,
									s->hour, s->minute, s->second));
	return DateADTGetDatum(date2j(s->year, s->month, s->day) - POSTGRES_EPOCH_JDATE);
}

static Datum
text_to_date(pc_value *v, const pc_column *src, int i)
{
	Size		len;
	const char *at = pc_bytes_at(src, i, &len);
	iso_time	t;

	if (!parse_iso(at, len, &t))
		return pc_convert_by_input(v, src, i);
	if (t.has_offset || t.hour || t.minute || t.second || t.micros)
		pc_does_not_fit(v, pnstrdup(at, len));
	return DateADTGetDatum(date2j(t.year, t.month, t.day) - POSTGRES_EPOCH_JDATE);
}

static Datum
text_to_timestamp(pc_value *v, const pc_column *src, int i)
{
	Size		len;
	const char *at = pc_bytes_at(src, i, &len);
	iso_time	t;
	Timestamp	ts;

	if (!parse_iso(at, len, &t))
		return pc_convert_by_input(v, src, i);
	if (t.has_offset)
		pc_does_not_fit(v, pnstrdup(at, len));	/* the input function would drop the zone */
	ts = timestamp_of(&t);
	check_precision(v, ts);
	return TimestampGetDatum(ts);
}

static Datum
text_to_timestamptz(pc_value *v, const pc_column *src, int i)
{
	Size		len;
	const char *at = pc_bytes_at(src, i, &len);
	iso_time	t;
	Timestamp	ts;
	Datum		value;
	int			nestlevel;

	if (parse_iso(at, len, &t))
	{
		ts = timestamp_of(&t) - (int64) t.offset * USECS_PER_SEC;
		check_precision(v, ts);
		return TimestampTzGetDatum(ts);
	}
	nestlevel = NewGUCNestLevel();
	(void) set_config_option("timezone", "UTC", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	value = pc_convert_by_input(v, src, i);
	AtEOXact_GUC(true, nestlevel);
	return value;
}

pc_convert
pc_time_converter(int kind, Oid base, int32 typmod)
{
	switch (kind)
	{
		case PC_KIND_DATE:
			return base == DATEOID ? struct_to_date : NULL;
		case PC_KIND_TIMESTAMP:
			if (base == DATEOID)
				return struct_timestamp_to_date;
			return base == TIMESTAMPOID || base == TIMESTAMPTZOID ? struct_to_timestamp : NULL;
		case PC_KIND_TEXT:
			switch (base)
			{
				case DATEOID:
					return text_to_date;
				case TIMESTAMPOID:
					return text_to_timestamp;
				case TIMESTAMPTZOID:
					return text_to_timestamptz;
			}
			break;
	}
	return NULL;
}

static inline bool
two_digits(const char *at, int *n)
{
	if (at[0] < '0' || at[0] > '9' || at[1] < '0' || at[1] > '9')
		return false;
	*n = (at[0] - '0') * 10 + (at[1] - '0');
	return true;
}

/*
 * YYYY-MM-DD[( |T)hh:mm:ss[.f{1,6}]][Z|(+|-)hh[[:]mm]]. Anything else, years
 * of other lengths, BC and infinity among it, is left to the input functions.
 */
static bool
parse_iso(const char *at, Size len, iso_time *t)
{
	const char *end = at + len;
	int			century,
				year;
	int			scale = 100000;

	memset(t, 0, sizeof(*t));
	if (len < 10 || !two_digits(at, &century) || !two_digits(at + 2, &year) || at[4] != '-' ||
		!two_digits(at + 5, &t->month) || at[7] != '-' || !two_digits(at + 8, &t->day))
		return false;
	t->year = century * 100 + year;
	if (t->year == 0 || !valid_date(t->year, t->month, t->day))
		return false;
	at += 10;
	if (at == end)
		return true;

	if (end - at < 9 || (*at != ' ' && *at != 'T') || !two_digits(at + 1, &t->hour) || at[3] != ':' ||
		!two_digits(at + 4, &t->minute) || at[6] != ':' || !two_digits(at + 7, &t->second))
		return false;
	if (t->hour > 23 || t->minute > 59 || t->second > 59)
		return false;
	t->has_time = true;
	at += 9;
	if (at < end && *at == '.')
	{
		for (at++; at < end && *at >= '0' && *at <= '9'; at++)
		{
			if (scale == 0)
				return false;
			t->micros += (*at - '0') * scale;
			scale /= 10;
		}
	}
	if (at == end)
		return true;

	t->has_offset = true;
	if (*at == 'Z')
		return at + 1 == end;
	if (*at == '+' || *at == '-')
	{
		int			sign = *at == '-' ? -1 : 1;
		int			hours,
					minutes = 0;

		at++;
		if (end - at < 2 || !two_digits(at, &hours))
			return false;
		at += 2;
		if (at < end && *at == ':')
			at++;
		if (at < end)
		{
			if (end - at != 2 || !two_digits(at, &minutes))
				return false;
		}
		if (hours > 15 || minutes > 59)
			return false;
		t->offset = sign * (hours * SECS_PER_HOUR + minutes * SECS_PER_MINUTE);
		return true;
	}
	return false;
}

static bool
valid_date(int year, int month, int day)
{
	if (month < 1 || month > MONTHS_PER_YEAR || day < 1 || day > day_tab[isleap(year)][month - 1])
		return false;
	return IS_VALID_JULIAN(year, month, day);
}

/* Microseconds since 2000; years of four digits cannot overflow. */
static Timestamp
timestamp_of(const iso_time *t)
{
	int64		days = date2j(t->year, t->month, t->day) - POSTGRES_EPOCH_JDATE;
	int64		seconds = (t->hour * INT64CONST(60) + t->minute) * 60 + t->second;

	return days * USECS_PER_DAY + seconds * USECS_PER_SEC + t->micros;
}

/* timestamp(p): what p digits cannot hold is refused. */
static void
check_precision(pc_value *v, Timestamp ts)
{
	static const int64 unit[] = {1000000, 100000, 10000, 1000, 100, 10, 1};

	if (v->typmod >= 0 && v->typmod < MAX_TIMESTAMP_PRECISION && ts % unit[v->typmod] != 0)
		pc_does_not_fit(v, timestamptz_to_str(ts));
}

static void
not_a_time(pc_value *v)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_FIELD_OVERFLOW),
			 errmsg("the remote value is no valid %s", format_type_be(v->base)),
			 errhint("Import the column as text to see it.")));
}
