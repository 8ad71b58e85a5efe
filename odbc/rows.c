/*
 * rows.c: row mode, for drivers that cannot fetch a long value of a row inside
 * a block again: one row at a time into scratch memory, copied to the block.
 */
#include <stdlib.h>
#include <string.h>
#include "cursor.h"

static int
bind_row(pc_cursor *c)
{
	size_t		total = 0;
	char	   *p;

	for (int32_t i = 0; i < c->ncols; i++)
		total += ((size_t) c->cols[i].width + 15) & ~(size_t) 7;
	p = realloc(c->scratch, total);
	if (p == NULL)
		return pc_own_error(c, "HY001", "out of memory for a row");
	c->scratch = p;
	for (int32_t i = 0; i < c->ncols; i++)
	{
		pc_col	   *col = &c->cols[i];

		col->scratch = p;
		col->scratch_ind = IND_UNSET;
		p += ((size_t) col->width + 15) & ~(size_t) 7;
		if (col->unbound)
			continue;
		if (!SQL_SUCCEEDED(SQLBindCol(c->stmt, (SQLUSMALLINT) (i + 1), col->ctype,
									  col->via_text ? col->text : col->scratch,
									  col->via_text ? NATIVE_TEXT_WIDTH : col->width, &col->scratch_ind)))
			return PC_FETCH_DIAG;
	}
	c->row_bound = true;
	return 0;
}

/* One column of the row just fetched, in ascending order of columns. */
static int
take_value(pc_cursor *c, pc_buffer *b, pc_block *blk, int32_t i, int32_t row, bool *over)
{
	pc_col	   *col = &c->cols[i];
	int64_t		ind = col->scratch_ind;
	int			err;

	if (col->unbound)
		return pc_get_value(c, b, blk, i, row);
	if (ind == IND_UNSET)
		return pc_no_rows(c);
	col->scratch_ind = IND_UNSET;
	pc_ind(blk, i)[row] = ind;
	if (ind == SQL_NULL_DATA)
		return 0;
	if (col->via_text)
	{
		if (ind < 0 || ind >= NATIVE_TEXT_WIDTH)
			return pc_own_error(c, "22003", "a value of column %d is too long for its type", i + 1);
		return pc_from_text(c, i, col->text, ind, pc_slot(blk, i, row));
	}
	if (!col->variable)
	{
		memcpy(pc_slot(blk, i, row), col->scratch, (size_t) col->width);
		return 0;
	}
	col->seen++;
	if (!pc_overflows(col, ind))
	{
		memcpy(pc_slot(blk, i, row), col->scratch, (size_t) ind);
		return 0;
	}
	if ((err = pc_check_indicator(c, i, ind)) != 0)
		return err;
	*over = true;
	col->over++;
	col->over_bytes += ind > 0 ? ind : 2 * col->room;
	return pc_get_long(c, b, blk, i, row, ind >= 0 ? ind : -1);
}

static bool
holds_null(pc_cursor *c, pc_block *blk, int32_t row)
{
	for (int32_t i = 0; i < c->ncols; i++)
		if (pc_ind(blk, i)[row] == SQL_NULL_DATA)
			return true;
	return false;
}

/* Fills the block one row at a time. */
int64_t
pc_fetch_rows(pc_cursor *c, pc_buffer *b, pc_block *blk)
{
	int32_t		n = 0;
	int			err;

	if (!c->row_bound && (err = bind_row(c)) != 0)
		return err;
	if (c->array_size == 0)
		(void) pc_count_in(c, 1);	/* a driver that cannot is judged by its indicators */
	while (n < c->rows && blk->arena_len <= c->o.block_bytes)
	{
		SQLRETURN	rc;
		bool		over = false;

		c->fetched = FETCHED_UNSET;
		c->status[0] = STATUS_UNSET;
		rc = SQLFetch(c->stmt);
		if (rc == SQL_NO_DATA)
		{
			c->ended = true;
			break;
		}
		if (!SQL_SUCCEEDED(rc))
			return PC_FETCH_DIAG;
		if (c->status[0] == SQL_ROW_ERROR || (rc == SQL_SUCCESS_WITH_INFO && pc_only_truncation(c) != 0))
			return PC_FETCH_DIAG;
		if (c->fetched == 0 || c->status[0] == SQL_ROW_NOROW)
			return pc_no_rows(c);
		for (int32_t i = 0; i < c->ncols; i++)
			if ((err = take_value(c, b, blk, i, n, &over)) != 0)
				return err;
		if (rc == SQL_SUCCESS_WITH_INFO && !over && !(c->o.null_as_cut && holds_null(c, blk, n)))
			return pc_own_error(c, "22001", "the driver reports a truncated value, but every length fits");
		n++;
	}
	pc_note_growth(c);
	blk->nrows = n;
	return n;
}
