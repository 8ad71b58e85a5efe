/*
 * cursor.c: what a cursor is made of, and how its columns are to be read.
 */
#include <stdlib.h>
#include "cursor.h"

#define SHORT_TEXT		128		/* declared lengths up to this are given whole */
#define SURE_TEXT		1024	/* ... up to this when that spares row mode */

static void
init_kind(pc_col *col, int32_t kind)
{
	col->kind = kind;
	switch (kind)
	{
		case PC_KIND_INT64:
			col->ctype = SQL_C_SBIGINT;
			col->width = sizeof(int64_t);
			break;
		case PC_KIND_UINT64:
			col->ctype = SQL_C_UBIGINT;
			col->width = sizeof(uint64_t);
			break;
		case PC_KIND_FLOAT64:
			col->ctype = SQL_C_DOUBLE;
			col->width = sizeof(double);
			break;
		case PC_FETCH_FLOAT64_BITS:
			col->kind = PC_KIND_FLOAT64;
			col->ctype = SQL_C_SBIGINT;
			col->width = sizeof(double);
			break;
		case PC_KIND_BOOL:
			col->ctype = SQL_C_BIT;
			col->width = 1;
			break;
		case PC_KIND_BYTES:
			col->ctype = SQL_C_BINARY;
			col->variable = true;
			break;
		case PC_KIND_DATE:
			col->ctype = SQL_C_TYPE_DATE;
			col->width = sizeof(SQL_DATE_STRUCT);
			break;
		case PC_KIND_TIMESTAMP:
			col->ctype = SQL_C_TYPE_TIMESTAMP;
			col->width = sizeof(SQL_TIMESTAMP_STRUCT);
			break;
		default:
			col->kind = PC_KIND_TEXT;
			col->ctype = SQL_C_CHAR;
			col->variable = true;
			break;
	}
}

/* Gives every text its declared length if the driver keeps to it and all are short enough. */
static bool
surely_fit(pc_cursor *c, const int64_t *maxlens)
{
	if (!c->o.keeps_lengths)
		return false;
	for (int32_t i = 0; i < c->ncols; i++)
		if (c->cols[i].variable && (maxlens[i] <= 0 || maxlens[i] > SURE_TEXT))
			return false;
	for (int32_t i = 0; i < c->ncols; i++)
		if (c->cols[i].variable)
			c->cols[i].want = maxlens[i] < 8 ? 8 : (int32_t) maxlens[i];
	return true;
}

/* Row mode: which columns may be bound, which must come by SQLGetData in order. */
static void
choose_mode(pc_cursor *c, bool has_variable, const int64_t *maxlens)
{
	uint32_t	ext = c->o.getdata;
	bool		again = (ext & SQL_GD_BOUND) && (ext & SQL_GD_ANY_COLUMN);
	bool		after = false;

	c->set_pos = again && (ext & SQL_GD_BLOCK);
	if (!has_variable || c->set_pos)
		return;
	c->whole = surely_fit(c, maxlens);
	c->row_mode = !c->whole;
	if (again)
		return;
	for (int32_t i = 0; i < c->ncols; i++)
	{
		after = after || c->cols[i].variable;
		c->cols[i].unbound = (ext & SQL_GD_ANY_COLUMN) ? c->cols[i].variable : after;
	}
}

/* Returns NULL when memory is short. */
pc_cursor *
pc_cursor_new(SQLHSTMT stmt, int32_t ncols, const int32_t *kinds,
			  const int64_t *maxlens, const pc_cursor_options *o)
{
	pc_cursor  *c = calloc(1, sizeof(pc_cursor));
	bool		has_variable = false;

	if (c == NULL)
		return NULL;
	c->stmt = stmt;
	c->o = *o;
	c->ncols = ncols;
	c->relayout = true;
	c->cols = calloc((size_t) ncols, sizeof(pc_col));
	c->status = calloc((size_t) o->block_rows, sizeof(SQLUSMALLINT));
	if (c->cols == NULL || c->status == NULL)
		goto fail;
	for (int32_t i = 0; i < ncols; i++)
	{
		pc_col	   *col = &c->cols[i];

		init_kind(col, kinds[i]);
		if (col->variable)
		{
			has_variable = true;
			col->want = o->text_room;
			if (maxlens[i] > 0 && maxlens[i] <= SHORT_TEXT)
				col->want = maxlens[i] < 8 ? 8 : (int32_t) maxlens[i];
		}
		else if (!o->native)
		{
			col->via_text = true;
			col->ctype = SQL_C_CHAR;
			col->text = malloc((size_t) o->block_rows * NATIVE_TEXT_WIDTH);
			if (col->text == NULL)
				goto fail;
		}
	}
	choose_mode(c, has_variable, maxlens);
	return c;
fail:
	pc_cursor_free(c);
	return NULL;
}

void
pc_cursor_free(pc_cursor *c)
{
	if (c == NULL)
		return;
	for (int32_t i = 0; c->cols != NULL && i < c->ncols; i++)
		free(c->cols[i].text);
	free(c->cols);
	free(c->status);
	free(c->scratch);
	free(c->carry);
	free(c);
}

const char *
pc_cursor_state(const pc_cursor *c)
{
	return c->state;
}

const char *
pc_cursor_message(const pc_cursor *c)
{
	return c->message;
}

int32_t
pc_cursor_rows(const pc_cursor *c)
{
	return c->rows;
}

/* Does the next fetch find the end without waiting for the source, by all that can be told? */
int
pc_cursor_near_end(const pc_cursor *c)
{
	return c->ended || (c->short_set && c->carry_rows == 0);
}
