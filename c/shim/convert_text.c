/*
 * convert_text.c: text and bytes, straight from the block into a varlena.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "convert.h"

static void too_long(pc_value *v, int limit) __attribute__((noreturn));

static inline const char *
verified(const pc_column *src, int i, Size *len)
{
	const char *at = pc_bytes_at(src, i, len);

	pg_verify_mbstr(PG_UTF8, at, (int) *len, false);
	return at;
}

static Datum
text_to_text(pc_value *v, const pc_column *src, int i)
{
	Size		len;
	const char *at = verified(src, i, &len);
	char	   *result = pc_value_buffer(v, len);

	memcpy(VARDATA(result), at, len);
	return PointerGetDatum(result);
}

/* varchar(n): n characters, not one more, not even blanks. */
static Datum
text_to_varchar(pc_value *v, const pc_column *src, int i)
{
	int			limit = v->typmod - VARHDRSZ;
	Size		len;
	const char *at = verified(src, i, &len);
	char	   *result;

	if (unlikely(len > (Size) limit && pg_mbstrlen_with_len(at, (int) len) > limit))
		too_long(v, limit);
	result = pc_value_buffer(v, len);
	memcpy(VARDATA(result), at, len);
	return PointerGetDatum(result);
}

/* char(n): padded to n characters; blanks beyond are no part of the value. */
static Datum
text_to_bpchar(pc_value *v, const pc_column *src, int i)
{
	int			limit = v->typmod - VARHDRSZ;
	Size		len;
	const char *at = verified(src, i, &len);
	int			chars = pg_mbstrlen_with_len(at, (int) len);
	char	   *result;
	Size		padding;

	while (chars > limit && len > 0 && at[len - 1] == ' ')
	{
		len--;
		chars--;
	}
	if (unlikely(chars > limit))
		too_long(v, limit);
	padding = limit - chars;
	result = pc_value_buffer(v, len + padding);
	memcpy(VARDATA(result), at, len);
	memset(VARDATA(result) + len, ' ', padding);
	return PointerGetDatum(result);
}

static Datum
bytes_to_bytea(pc_value *v, const pc_column *src, int i)
{
	Size		len;
	const char *at = pc_bytes_at(src, i, &len);
	char	   *result = pc_value_buffer(v, len);

	memcpy(VARDATA(result), at, len);
	return PointerGetDatum(result);
}

pc_convert
pc_text_converter(int kind, Oid base, int32 typmod)
{
	if (kind == PC_KIND_BYTES)
		return base == BYTEAOID ? bytes_to_bytea : NULL;
	if (kind != PC_KIND_TEXT)
		return NULL;
	switch (base)
	{
		case TEXTOID:
			return text_to_text;
		case VARCHAROID:
			return typmod >= (int32) VARHDRSZ ? text_to_varchar : text_to_text;
		case BPCHAROID:
			return typmod >= (int32) VARHDRSZ ? text_to_bpchar : text_to_text;
	}
	return NULL;
}

static void
too_long(pc_value *v, int limit)
{
	ereport(ERROR,
			(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
			 errmsg("remote value too long for type %s", format_type_with_typemod(v->base, v->typmod)),
			 errdetail("Values are never cut to %d characters.", limit),
			 errhint("Declare the column as long as the remote one, or as text.")));
}
