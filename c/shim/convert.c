/*
 * convert.c: turns blocks into tuples. How a column is converted is chosen
 * when its kind is first seen; a row is then one call a column.
 *
 * Nothing is ever cut: a value that does not fit its column is an error that
 * names column and table.
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "convert.h"

/* A column's buffer that grew beyond this is given back with the block. */
#define PC_BUFFER_KEEP (64 * 1024)

struct pc_reader
{
	Relation	rel;
	int			natts;
	int			nvalues;
	pc_value   *values;
	pc_value   *current;		/* for error messages */
	MemoryContext row_cxt;		/* values that are not in buffers, one row */
};

const char *pc_column_arena = NULL;

static void choose(pc_value *v, int kind);
static void error_context(void *arg);
static char *as_text(pc_value *v, const pc_column *src, int i);

pc_reader *
pc_reader_create(Relation rel, List *wanted)
{
	TupleDesc	desc = RelationGetDescr(rel);
	pc_reader  *reader = palloc0(sizeof(pc_reader));
	ListCell   *lc;

	reader->rel = rel;
	reader->natts = desc->natts;
	reader->values = palloc0(sizeof(pc_value) * Max(list_length(wanted), 1));
	reader->row_cxt = AllocSetContextCreate(CurrentMemoryContext, "portcullis row", ALLOCSET_DEFAULT_SIZES);
	foreach(lc, wanted)
	{
		pc_value   *v = &reader->values[reader->nvalues++];
		Form_pg_attribute att = TupleDescAttr(desc, lfirst_int(lc) - 1);

		v->attnum = att->attnum;
		v->index = att->attnum - 1;
		v->type = att->atttypid;
		v->typmod = att->atttypmod;
		v->base = getBaseTypeAndTypmod(v->type, &v->typmod);
		v->is_domain = v->base != v->type;
		v->cxt = CurrentMemoryContext;
	}
	return reader;
}

/* Gets ready for a new block; the rows of the one before are no longer needed. */
void
pc_reader_block(pc_reader *reader, pc_block *block)
{
	if (block->ncols != reader->nvalues)
		elog(ERROR, "the library sent %d columns, wanted were %d", block->ncols, reader->nvalues);
	for (int i = 0; i < reader->nvalues; i++)
	{
		pc_value   *v = &reader->values[i];
		const pc_column *src = &block->cols[i];

		if (v->room > PC_BUFFER_KEEP)
		{
			pfree(v->buffer);
			v->buffer = NULL;
			v->room = 0;
		}
		if (src->data != NULL && v->kind != src->kind)
			choose(v, src->kind);
	}
}

void
pc_reader_row(pc_reader *reader, pc_block *block, int row, TupleTableSlot *slot)
{
	int			i = block->rows ? block->rows[row] : row;
	ErrorContextCallback callback;
	MemoryContext old;

	MemoryContextReset(reader->row_cxt);
	old = MemoryContextSwitchTo(reader->row_cxt);
	callback.callback = error_context;
	callback.arg = reader;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	pc_column_arena = block->arena;
	memset(slot->tts_isnull, true, reader->natts * sizeof(bool));
	for (int c = 0; c < reader->nvalues; c++)
	{
		pc_value   *v = &reader->values[c];
		const pc_column *src = &block->cols[c];
		Datum		value = (Datum) 0;
		bool		isnull = src->data == NULL || src->ind[i] == PC_NULL;

		reader->current = v;
		if (!isnull)
			value = v->convert(v, src, i);
		if (unlikely(v->is_domain))
			domain_check(value, isnull, v->type, &v->domain_cache, v->cxt);
		slot->tts_values[v->index] = value;
		slot->tts_isnull[v->index] = isnull;
	}

	error_context_stack = callback.previous;
	MemoryContextSwitchTo(old);
	ExecStoreVirtualTuple(slot);
}

static void
choose(pc_value *v, int kind)
{
	pc_convert	convert = pc_number_converter(kind, v->base, v->typmod);

	if (convert == NULL)
		convert = pc_text_converter(kind, v->base, v->typmod);
	if (convert == NULL)
		convert = pc_time_converter(kind, v->base, v->typmod);
	if (convert == NULL)
		convert = pc_convert_by_input;
	v->convert = convert;
	v->kind = kind;
}

char *
pc_value_buffer(pc_value *v, Size len)
{
	Size		need = len + VARHDRSZ;

	if (unlikely(v->room < need))
	{
		Size		room = Max(256, need + need / 2);

		if (!AllocSizeIsValid(need))
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("a value of %zu bytes is too large for PostgreSQL", len)));
		if (!AllocSizeIsValid(room))
			room = need;
		if (v->buffer)
			pfree(v->buffer);
		v->room = 0;
		v->buffer = MemoryContextAlloc(v->cxt, room);
		v->room = room;
	}
	SET_VARSIZE(v->buffer, need);
	return v->buffer;
}

Datum
pc_convert_by_input(pc_value *v, const pc_column *src, int i)
{
	return pc_input(v, as_text(v, src, i));
}

/*
 * The type's input function. Where the type has a modifier, what it would
 * round or cut is refused.
 */
Datum
pc_input(pc_value *v, const char *text)
{
	Datum		value;
	Datum		exact;
	int			nestlevel;
	int16		typlen;
	bool		byval;

	if (!v->input_ready)
	{
		Oid			function;

		getTypeInputInfo(v->base, &function, &v->ioparam);
		fmgr_info_cxt(function, &v->input, v->cxt);
		v->input_ready = true;
	}
	if ((v->base == NAMEOID && strlen(text) >= NAMEDATALEN) || (v->base == CHAROID && strlen(text) > 1 && text[0] != '\\'))
		pc_does_not_fit(v, text);

	nestlevel = pc_transmission_modes();
	value = InputFunctionCall(&v->input, unconstify(char *, text), v->ioparam, v->typmod);
	if (v->typmod >= 0)
	{
		exact = InputFunctionCall(&v->input, unconstify(char *, text), v->ioparam, -1);
		get_typlenbyval(v->base, &typlen, &byval);
		if (v->base != BPCHAROID && v->base != NUMERICOID && !datum_image_eq(value, exact, byval, typlen))
			pc_does_not_fit(v, text);
		if (v->base == NUMERICOID && !DatumGetBool(DirectFunctionCall2(numeric_eq, value, exact)))
			pc_does_not_fit(v, text);
	}
	pc_transmission_modes_end(nestlevel);
	return value;
}

void
pc_does_not_fit(pc_value *v, const char *text)
{
	int			len = pg_mbcliplen(text, strlen(text), 40);

	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("value \"%.*s%s\" does not fit type %s", len, text, text[len] ? "…" : "",
					format_type_with_typemod(v->base, v->typmod)),
			 errhint("Declare the column with a type that holds every remote value.")));
}

static char *
as_text(pc_value *v, const pc_column *src, int i)
{
	const char *at = src->data + (Size) i * src->width;
	Size		len;

	switch (src->kind)
	{
		case PC_KIND_INT64:
			return psprintf(INT64_FORMAT, *(const int64_t *) at);
		case PC_KIND_UINT64:
			return psprintf(UINT64_FORMAT, *(const uint64_t *) at);
		case PC_KIND_FLOAT64:
			return pc_shortest(*(const double *) at);
		case PC_KIND_BOOL:
			return pstrdup(*(const uint8_t *) at ? "t" : "f");
		case PC_KIND_TEXT:
			at = pc_bytes_at(src, i, &len);
			pg_verify_mbstr(PG_UTF8, at, (int) len, false);
			return pnstrdup(at, len);
		default:
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
			 errmsg("the remote value cannot be read as type %s", format_type_with_typemod(v->base, v->typmod)),
			 errhint("Declare the column with the type that IMPORT FOREIGN SCHEMA gives it.")));
}

static void
error_context(void *arg)
{
	pc_reader  *reader = arg;
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(reader->rel), reader->current->index);

	errcontext("column \"%s\" of foreign table \"%s\"", NameStr(att->attname),
			   RelationGetRelationName(reader->rel));
	/* PostgreSQL's own hint is about settings of who typed a value. */
	if (geterrcode() == ERRCODE_DATETIME_FIELD_OVERFLOW)
		errhint("The source holds a value that the column's type does not have. Leave out the column or, by a condition, the row.");
}
