/*
 * convert_number.c: numbers and booleans.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "convert.h"

/* Integers up to this size are exact as float8. */
#define FLOAT8_EXACT INT64CONST(9007199254740992)

#define AT(type, src, i) (*(const type *) ((src)->data + (Size) (i) * (src)->width))

static void int_refused(pc_value *v, int64 value) __attribute__((noreturn));
static void float_refused(pc_value *v, double value) __attribute__((noreturn));

static Datum
int_to_int2(pc_value *v, const pc_column *src, int i)
{
	int64		n = AT(int64_t, src, i);

	if (unlikely(n < PG_INT16_MIN || n > PG_INT16_MAX))
		int_refused(v, n);
	return Int16GetDatum((int16) n);
}

static Datum
int_to_int4(pc_value *v, const pc_column *src, int i)
{
	int64		n = AT(int64_t, src, i);

	if (unlikely(n < PG_INT32_MIN || n > PG_INT32_MAX))
		int_refused(v, n);
	return Int32GetDatum((int32) n);
}

static Datum
int_to_int8(pc_value *v, const pc_column *src, int i)
{
	return Int64GetDatum(AT(int64_t, src, i));
}

static Datum
int_to_oid(pc_value *v, const pc_column *src, int i)
{
	int64		n = AT(int64_t, src, i);

	if (unlikely(n < 0 || n > PG_UINT32_MAX))
		int_refused(v, n);
	return ObjectIdGetDatum((Oid) n);
}

static Datum
int_to_bool(pc_value *v, const pc_column *src, int i)
{
	int64		n = AT(int64_t, src, i);

	if (unlikely(n != 0 && n != 1))
		int_refused(v, n);
	return BoolGetDatum(n != 0);
}

static Datum
int_to_float8(pc_value *v, const pc_column *src, int i)
{
	int64		n = AT(int64_t, src, i);

	if (unlikely(n > FLOAT8_EXACT || n < -FLOAT8_EXACT))
		int_refused(v, n);
	return Float8GetDatum((double) n);
}

static Datum
int_to_numeric(pc_value *v, const pc_column *src, int i)
{
	return NumericGetDatum(int64_to_numeric(AT(int64_t, src, i)));
}

static Datum
uint_to_int8(pc_value *v, const pc_column *src, int i)
{
	uint64		n = AT(uint64_t, src, i);

	if (unlikely(n > (uint64) PG_INT64_MAX))
		pc_does_not_fit(v, psprintf(UINT64_FORMAT, n));
	return Int64GetDatum((int64) n);
}

static Datum
uint_to_numeric(pc_value *v, const pc_column *src, int i)
{
	uint64		n = AT(uint64_t, src, i);

	if (n <= (uint64) PG_INT64_MAX)
		return NumericGetDatum(int64_to_numeric((int64) n));
	return DirectFunctionCall3(numeric_in, CStringGetDatum(psprintf(UINT64_FORMAT, n)),
							   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

static Datum
float_to_float8(pc_value *v, const pc_column *src, int i)
{
	return Float8GetDatum(AT(double, src, i));
}

/* Digits beyond float4's are the source's way of printing a float4; what overflows is refused. */
static Datum
float_to_float4(pc_value *v, const pc_column *src, int i)
{
	double		d = AT(double, src, i);
	float		f = (float) d;

	if (unlikely((isinf(f) && !isinf(d)) || (f == 0.0f && d != 0.0)))
		float_refused(v, d);
	return Float4GetDatum(f);
}

/* Only whole numbers. */
static int64
whole(pc_value *v, double d)
{
	if (unlikely(isnan(d) || d != rint(d) || !FLOAT8_FITS_IN_INT64(d)))
		float_refused(v, d);
	return (int64) d;
}

static Datum
float_to_int8(pc_value *v, const pc_column *src, int i)
{
	return Int64GetDatum(whole(v, AT(double, src, i)));
}

static Datum
float_to_int4(pc_value *v, const pc_column *src, int i)
{
	int64		n = whole(v, AT(double, src, i));

	if (unlikely(n < PG_INT32_MIN || n > PG_INT32_MAX))
		int_refused(v, n);
	return Int32GetDatum((int32) n);
}

static Datum
float_to_int2(pc_value *v, const pc_column *src, int i)
{
	int64		n = whole(v, AT(double, src, i));

	if (unlikely(n < PG_INT16_MIN || n > PG_INT16_MAX))
		int_refused(v, n);
	return Int16GetDatum((int16) n);
}

static Datum
bool_to_bool(pc_value *v, const pc_column *src, int i)
{
	return BoolGetDatum(AT(uint8_t, src, i) != 0);
}

static Datum
text_to_bool(pc_value *v, const pc_column *src, int i)
{
	Size		len;
	const char *at = pc_bytes_at(src, i, &len);
	bool		result;

	if (parse_bool_with_len(at, len, &result))
		return BoolGetDatum(result);
	return pc_convert_by_input(v, src, i);
}

/* [-]digits with at most 18 of them before and none after: no input function, no palloc. */
static bool
simple_int(const char *at, Size len, int64 *result)
{
	bool		negative = len > 0 && at[0] == '-';
	Size		i = negative ? 1 : 0;
	int64		n = 0;

	if (len - i < 1 || len - i > 18)
		return false;
	for (; i < len; i++)
	{
		if (at[i] < '0' || at[i] > '9')
			return false;
		n = n * 10 + (at[i] - '0');
	}
	*result = negative ? -n : n;
	return true;
}

static Datum
text_to_int8(pc_value *v, const pc_column *src, int i)
{
	Size		len;
	const char *at = pc_bytes_at(src, i, &len);
	int64		n;

	if (simple_int(at, len, &n))
		return Int64GetDatum(n);
	return pc_convert_by_input(v, src, i);
}

static Datum
text_to_int4(pc_value *v, const pc_column *src, int i)
{
	Size		len;
	const char *at = pc_bytes_at(src, i, &len);
	int64		n;

	if (simple_int(at, len, &n) && n >= PG_INT32_MIN && n <= PG_INT32_MAX)
		return Int32GetDatum((int32) n);
	return pc_convert_by_input(v, src, i);
}

/*
 * Decimal text. Up to 18 digits are put together as an integer and a scale;
 * longer ones, exponents and NaN take numeric's input function.
 */
static Datum
text_to_numeric(pc_value *v, const pc_column *src, int i)
{
	Size		len;
	const char *at = pc_bytes_at(src, i, &len);
	const char *end = at + len;
	bool		negative = false;
	int64		n = 0;
	int			digits = 0;
	int			scale = 0;
	bool		point = false;
	int			want = -1;		/* the column's scale */
	int			room = 0;		/* digits allowed before the point */

	if (v->typmod >= (int32) VARHDRSZ)
	{
		want = (v->typmod - VARHDRSZ) & 0x7ff;
		room = (((v->typmod - VARHDRSZ) >> 16) & 0xffff) - want;
		if (want >= 1024 || room < 0)
			return pc_convert_by_input(v, src, i);	/* negative scale, or larger than the precision */
	}
	if (at < end && *at == '-')
	{
		negative = true;
		at++;
	}
	for (; at < end; at++)
	{
		if (*at == '.' && !point)
		{
			point = true;
			continue;
		}
		if (*at < '0' || *at > '9' || ++digits > 18)
			return pc_convert_by_input(v, src, i);
		n = n * 10 + (*at - '0');
		if (point)
			scale++;
	}
	if (digits == 0 || (want >= 0 && (scale > want || digits - scale > room)))
		return pc_convert_by_input(v, src, i);
	for (; scale < want; scale++)
	{
		if (++digits > 18)
			return pc_convert_by_input(v, src, i);
		n *= 10;
	}
	return NumericGetDatum(int64_div_fast_to_numeric(negative ? -n : n, scale));
}

/* Digits enough to read the same double again, whatever extra_float_digits says. */
char *
pc_shortest(double d)
{
	if (isnan(d))
		return pstrdup("NaN");
	if (isinf(d))
		return pstrdup(d > 0 ? "Infinity" : "-Infinity");
	return double_to_shortest_decimal(d);
}

pc_convert
pc_number_converter(int kind, Oid base, int32 typmod)
{
	switch (kind)
	{
		case PC_KIND_INT64:
			switch (base)
			{
				case INT2OID:
					return int_to_int2;
				case INT4OID:
					return int_to_int4;
				case INT8OID:
					return int_to_int8;
				case OIDOID:
					return int_to_oid;
				case BOOLOID:
					return int_to_bool;
				case FLOAT8OID:
					return int_to_float8;
				case NUMERICOID:
					return typmod < 0 ? int_to_numeric : NULL;
			}
			break;
		case PC_KIND_UINT64:
			switch (base)
			{
				case INT8OID:
					return uint_to_int8;
				case NUMERICOID:
					return typmod < 0 ? uint_to_numeric : NULL;
			}
			break;
		case PC_KIND_FLOAT64:
			switch (base)
			{
				case FLOAT4OID:
					return float_to_float4;
				case FLOAT8OID:
					return float_to_float8;
				case INT2OID:
					return float_to_int2;
				case INT4OID:
					return float_to_int4;
				case INT8OID:
					return float_to_int8;
			}
			break;
		case PC_KIND_BOOL:
			return base == BOOLOID ? bool_to_bool : NULL;
		case PC_KIND_TEXT:
			switch (base)
			{
				case BOOLOID:
					return text_to_bool;
				case INT4OID:
					return text_to_int4;
				case INT8OID:
					return text_to_int8;
				case NUMERICOID:
					return text_to_numeric;
			}
			break;
	}
	return NULL;
}

static void
int_refused(pc_value *v, int64 value)
{
	pc_does_not_fit(v, psprintf(INT64_FORMAT, value));
}

static void
float_refused(pc_value *v, double value)
{
	pc_does_not_fit(v, pc_shortest(value));
}
