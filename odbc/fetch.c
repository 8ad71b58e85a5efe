/*
 * fetch.c: fills a block of rows in one call.
 *
 * Block mode: the driver fills whole arrays; values longer than their room
 * are fetched again by SQLSetPos and SQLGetData.  Row mode is in rows.c.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cursor.h"

int
pc_own_error(pc_cursor *c, const char *state, const char *fmt,...)
{
	va_list		args;

	memcpy(c->state, state, 5);
	va_start(args, fmt);
	vsnprintf(c->message, sizeof(c->message), fmt, args);
	va_end(args);
	return PC_FETCH_OWN;
}

/* ---- judging a fetch ---- */

/* SQL_SUCCESS_WITH_INFO is fine only if it says nothing but "truncated". */
int
pc_only_truncation(pc_cursor *c)
{
	SQLCHAR		state[6];
	SQLINTEGER	native;
	SQLSMALLINT len;

	for (SQLSMALLINT i = 1; SQL_SUCCEEDED(SQLGetDiagRec(SQL_HANDLE_STMT, c->stmt, i, state, &native, NULL, 0, &len)); i++)
		if (memcmp(state, "01004", 5) != 0)
			return PC_FETCH_DIAG;
	return 0;
}

/* Success without a row would go on for ever. */
int
pc_no_rows(pc_cursor *c)
{
	return pc_own_error(c, "HY000", "the driver reports success but gives no rows");
}

/* Rows of the row set: the counter if it was written, else what the status array tells. */
static int64_t
count_rows(pc_cursor *c)
{
	SQLULEN		n = c->fetched;

	if (n == FETCHED_UNSET)
		for (n = 0; n < c->array_size; n++)
			if (c->status[n] == STATUS_UNSET || c->status[n] == SQL_ROW_NOROW)
				break;
	if (n > c->array_size)
		return pc_own_error(c, "HY000", "the driver tells %llu rows of %llu asked for",
							(unsigned long long) n, (unsigned long long) c->array_size);
	for (SQLULEN i = 0; i < n; i++)
	{
		if (c->status[i] == SQL_ROW_ERROR)
			return PC_FETCH_DIAG;
		if (c->status[i] == SQL_ROW_NOROW)
			return pc_own_error(c, "HY000", "the driver tells %llu rows, but row %llu is missing",
								(unsigned long long) n, (unsigned long long) i + 1);
	}
	return (int64_t) n;
}

/* Is this value not in place?  ind < 0 and not NULL means a length the driver does not know. */
bool
pc_overflows(const pc_col *col, int64_t ind)
{
	return ind > col->room || (ind < 0 && ind != SQL_NULL_DATA);
}

int
pc_check_indicator(pc_cursor *c, int32_t col, int64_t ind)
{
	if (ind < 0 && ind != SQL_NULL_DATA && ind != SQL_NO_TOTAL)
		return pc_own_error(c, "HY000", "the driver gave indicator %lld for column %d", (long long) ind, col + 1);
	return 0;
}

/* Tells the driver how many rows a fetch brings, and where it counts them. */
SQLRETURN
pc_count_in(pc_cursor *c, SQLULEN array_size)
{
	SQLRETURN	rc;

	c->array_size = array_size;
	rc = SQLSetStmtAttr(c->stmt, SQL_ATTR_ROW_ARRAY_SIZE, (SQLPOINTER) array_size, 0);
	if (SQL_SUCCEEDED(rc))
		rc = SQLSetStmtAttr(c->stmt, SQL_ATTR_ROW_STATUS_PTR, c->status, 0);
	if (SQL_SUCCEEDED(rc))
		rc = SQLSetStmtAttr(c->stmt, SQL_ATTR_ROWS_FETCHED_PTR, &c->fetched, 0);
	return rc;
}

/* ---- block mode ---- */

static SQLRETURN
bind_block(pc_cursor *c, pc_block *blk)
{
	SQLRETURN	rc = SQL_SUCCESS;

	if (c->array_size != (SQLULEN) c->rows)
		rc = pc_count_in(c, (SQLULEN) c->rows);
	for (int32_t i = 0; i < c->ncols && SQL_SUCCEEDED(rc); i++)
	{
		pc_col	   *col = &c->cols[i];

		if (col->via_text)
			rc = SQLBindCol(c->stmt, (SQLUSMALLINT) (i + 1), SQL_C_CHAR, col->text,
							NATIVE_TEXT_WIDTH, (SQLLEN *) pc_ind(blk, i));
		else
			rc = SQLBindCol(c->stmt, (SQLUSMALLINT) (i + 1), col->ctype, blk->cols[i].data,
							col->width, (SQLLEN *) pc_ind(blk, i));
	}
	return rc;
}

/* Turns the texts of a fixed kind into native values. */
static int
convert_block(pc_cursor *c, pc_block *blk, int32_t col, int32_t n)
{
	int64_t    *ind = pc_ind(blk, col);

	for (int32_t row = 0; row < n; row++)
	{
		int			err;

		if (ind[row] == SQL_NULL_DATA)
			continue;
		if (ind[row] < 0 || ind[row] >= NATIVE_TEXT_WIDTH)
			return pc_own_error(c, "22003", "a value of column %d is too long for its type", col + 1);
		err = pc_from_text(c, col, c->cols[col].text + (size_t) row * NATIVE_TEXT_WIDTH,
						   ind[row], pc_slot(blk, col, row));
		if (err != 0)
			return err;
	}
	return 0;
}

/* Checks the indicators of n rows; returns the number of values to be fetched again. */
static int64_t
scan_block(pc_cursor *c, pc_block *blk, int32_t n)
{
	int64_t		over = 0;
	int			err;

	for (int32_t i = 0; i < c->ncols; i++)
	{
		pc_col	   *col = &c->cols[i];
		const int64_t *ind = pc_ind(blk, i);

		if (col->via_text)
		{
			if ((err = convert_block(c, blk, i, n)) != 0)
				return err;
			continue;
		}
		if (!col->variable)
			continue;
		col->seen += n;
		for (int32_t row = 0; row < n; row++)
			if (pc_overflows(col, ind[row]))
			{
				if ((err = pc_check_indicator(c, i, ind[row])) != 0)
					return err;
				col->over++;
				col->over_bytes += ind[row] > 0 ? ind[row] : 2 * col->room;
				over++;
			}
	}
	return over;
}

/* Fetches the long values of one row; at is the row's place in the row set. */
static int
long_values(pc_cursor *c, pc_buffer *b, pc_block *blk, int32_t row, int32_t at)
{
	bool		positioned = false;

	for (int32_t i = 0; i < c->ncols; i++)
	{
		int64_t		ind = pc_ind(blk, i)[row];
		int			err;

		if (!c->cols[i].variable || !pc_overflows(&c->cols[i], ind))
			continue;
		if (!c->set_pos)
			return pc_own_error(c, "22001", "a value of column %d has %lld bytes, more than its declared length",
								i + 1, (long long) ind);
		if (!positioned && !SQL_SUCCEEDED(SQLSetPos(c->stmt, (SQLSETPOSIROW) (at + 1), SQL_POSITION, SQL_LOCK_NO_CHANGE)))
			return PC_FETCH_DIAG;
		positioned = true;
		err = pc_get_long(c, b, blk, i, row, ind >= 0 ? ind : -1);
		if (err != 0)
			return err;
	}
	return 0;
}

/* Puts rows [from, n) of the block aside; they are delivered with the next blocks. */
static int
put_aside(pc_cursor *c, pc_block *blk, int32_t from, int32_t n, int32_t at)
{
	int32_t		left = n - from;
	size_t		row = 0;
	char	   *p;

	for (int32_t i = 0; i < c->ncols; i++)
		row += (size_t) c->cols[i].width + sizeof(int64_t);
	p = malloc(row * (size_t) left);
	if (p == NULL)
		return pc_own_error(c, "HY001", "out of memory for %d rows", left);
	free(c->carry);
	c->carry = p;
	c->carry_from = at;
	c->carry_rows = left;
	for (int32_t i = 0; i < c->ncols; i++)
	{
		size_t		ind = sizeof(int64_t) * (size_t) left;
		size_t		data = (size_t) c->cols[i].width * (size_t) left;

		memcpy(p, pc_ind(blk, i) + from, ind);
		memcpy(p + ind, pc_slot(blk, i, from), data);
		p += ind + data;
	}
	return 0;
}

static int32_t
take_back(pc_cursor *c, pc_block *blk)
{
	int32_t		n = c->carry_rows;
	const char *p = c->carry;

	for (int32_t i = 0; i < c->ncols; i++)
	{
		size_t		ind = sizeof(int64_t) * (size_t) n;
		size_t		data = (size_t) c->cols[i].width * (size_t) n;

		memcpy(pc_ind(blk, i), p, ind);
		memcpy(blk->cols[i].data, p + ind, data);
		p += ind + data;
	}
	c->carry_rows = 0;
	return n;
}

/*
 * Long values of rows [0, n), which lie at "at" in the row set.  Stops after
 * the row that fills the arena's share; the rows behind it wait.
 */
static int64_t
deliver(pc_cursor *c, pc_buffer *b, pc_block *blk, int32_t n, int32_t at, bool any_long)
{
	for (int32_t row = 0; any_long && row < n; row++)
	{
		int			err = long_values(c, b, blk, row, at + row);

		if (err != 0)
			return err;
		if (blk->arena_len > c->o.block_bytes && row + 1 < n)
		{
			if ((err = put_aside(c, blk, row + 1, n, at + row + 1)) != 0)
				return err;
			n = row + 1;
		}
	}
	blk->nrows = n;
	return n;
}

static int64_t
fetch_block(pc_cursor *c, pc_buffer *b, pc_block *blk)
{
	SQLRETURN	rc;
	int64_t		n;
	int64_t		over;

	if (c->carry_rows > 0)
	{
		int32_t		at = c->carry_from;

		return deliver(c, b, blk, take_back(c, blk), at, true);
	}
	if (!SQL_SUCCEEDED(bind_block(c, blk)))
		return PC_FETCH_DIAG;
	c->fetched = FETCHED_UNSET;
	memset(c->status, 0xff, sizeof(SQLUSMALLINT) * (size_t) c->rows);
	rc = SQLFetch(c->stmt);
	if (rc == SQL_NO_DATA)
		return PC_FETCH_END;
	if (!SQL_SUCCEEDED(rc))
		return PC_FETCH_DIAG;
	if ((n = count_rows(c)) < 0)
		return n;
	if (n == 0)
		return pc_no_rows(c);
	c->short_set = (SQLULEN) n < c->array_size;
	if ((over = scan_block(c, blk, (int32_t) n)) < 0)
		return over;
	if (rc == SQL_SUCCESS_WITH_INFO)
	{
		if (pc_only_truncation(c) != 0)
			return PC_FETCH_DIAG;
		if (over == 0)
			return pc_own_error(c, "22001", "the driver reports a truncated value, but every length fits");
	}
	pc_note_growth(c);
	return deliver(c, b, blk, (int32_t) n, 0, over > 0);
}

/*
 * Fills the buffer with the next block.  Returns rows, PC_FETCH_END,
 * PC_FETCH_DIAG or PC_FETCH_OWN.
 */
int64_t
pc_cursor_fetch(pc_cursor *c, pc_buffer *b)
{
	pc_block   *blk;
	int			err;

	if (c->ended)
		return PC_FETCH_END;
	if (c->relayout && c->carry_rows == 0)
	{
		if ((err = pc_layout(c, b)) != 0)
			return err;
		c->row_bound = false;
	}
	blk = pc_place(c, b);
	return c->row_mode ? pc_fetch_rows(c, b, blk) : fetch_block(c, b, blk);
}
