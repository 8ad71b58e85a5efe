/*
 * long.c: values that do not fit in place, by SQLGetData into the arena.
 *
 * Truncation is judged by the indicator.  A length told before must be the
 * length received, else the statement fails: nothing is ever cut.
 */
#include <string.h>
#include "cursor.h"

#define FIRST_CHUNK		((int64_t) 64 << 10)
#define LAST_CHUNK		((int64_t) 16 << 20)
#define GUARD			8		/* bytes before the terminator looked at for an early one */

static int
too_long(pc_cursor *c, int32_t col)
{
	return pc_own_error(c, "54000", "a value of column %d is longer than %lld bytes",
						col + 1, (long long) c->o.max_value);
}

/* Checks that the arena can take n more bytes after at. */
static int
need(pc_cursor *c, const pc_buffer *b, int32_t col, int64_t at, int64_t n)
{
	if (n > c->o.max_value + GUARD)
		return too_long(c, col);
	if ((size_t) (at + n) > b->reserve - b->fixed)
		return pc_own_error(c, "54000", "the long values of one row exceed %lld bytes",
							(long long) (b->reserve - b->fixed));
	return 0;
}

/*
 * Bytes that a driver wrote into a full chunk of characters: some stop early
 * rather than split a character, which the guard bytes show.
 */
static int64_t
written(const char *p, int64_t chunk)
{
	if (p[chunk] == '\0')
		return chunk;
	for (int64_t i = chunk - 1; i >= 0 && i >= chunk - GUARD; i--)
		if (p[i] == '\0')
			return i;
	return -1;
}

/* Remembers the value as lying at offset off of the arena. */
static void
keep(pc_buffer *b, pc_block *blk, int32_t col, int32_t row, int64_t off, int64_t len)
{
	*(int64_t *) pc_slot(blk, col, row) = off;
	pc_ind(blk, col)[row] = len;
	blk->arena_len = (off + len + 1 + 7) & ~(int64_t) 7;
	if ((size_t) blk->arena_len > b->arena_high)
		b->arena_high = (size_t) blk->arena_len;
}

/*
 * Reads what is left of a value in chunks, got bytes lying in the arena
 * already; total is its whole length or -1.
 */
static int
get_rest(pc_cursor *c, pc_buffer *b, pc_block *blk, int32_t col, int32_t row,
		 int64_t off, int64_t got, int64_t total)
{
	pc_col	   *cc = &c->cols[col];
	int64_t		terminator = cc->ctype == SQL_C_CHAR ? 1 : 0;
	int64_t		chunk = FIRST_CHUNK;

	for (;;)
	{
		int64_t		n = total >= got ? total - got : chunk;
		char	   *to = blk->arena + off + got;
		SQLLEN		ind = SQL_NO_TOTAL;
		SQLRETURN	rc;
		int			err;

		if (n < GUARD)
			n = GUARD;
		if ((err = need(c, b, col, off, got + n + terminator)) != 0)
			return err;
		if (terminator)
			memset(to + n - GUARD, 1, GUARD + 1);
		rc = SQLGetData(c->stmt, (SQLUSMALLINT) (col + 1), cc->ctype, to,
						(SQLLEN) (n + terminator), &ind);
		if (rc == SQL_NO_DATA)
			break;
		if (!SQL_SUCCEEDED(rc))
			return PC_FETCH_DIAG;
		if (ind == SQL_NULL_DATA)
		{
			if (got > 0 || total >= 0)
				return pc_own_error(c, "HY000", "the driver first told a length, then NULL for column %d", col + 1);
			pc_ind(blk, col)[row] = PC_NULL;
			return 0;
		}
		if (ind >= 0 && ind <= n)
		{
			got += ind;
			break;
		}
		if (ind < 0 && ind != SQL_NO_TOTAL)
			return pc_own_error(c, "HY000", "the driver gave indicator %lld for column %d", (long long) ind, col + 1);
		if (ind >= 0 && total < 0)
			total = got + ind;
		if (total > c->o.max_value)
			return too_long(c, col);
		if (terminator && (n = written(to, n)) < 0)
			return pc_own_error(c, "22001", "the driver returned a part of column %d without its end", col + 1);
		got += n;
		if (chunk < LAST_CHUNK)
			chunk *= 2;
	}
	if (total >= 0 && got != total)
		return pc_own_error(c, "22001", "the driver told %lld bytes for column %d and returned %lld",
							(long long) total, col + 1, (long long) got);
	if (got > c->o.max_value)
		return too_long(c, col);
	keep(b, blk, col, row, off, got);
	return 0;
}

/* Fetches again, whole, a value that was bound but too long; known is its length or -1. */
int
pc_get_long(pc_cursor *c, pc_buffer *b, pc_block *blk, int32_t col, int32_t row, int64_t known)
{
	if (known > c->o.max_value)
		return too_long(c, col);
	return get_rest(c, b, blk, col, row, blk->arena_len, 0, known);
}

/* Fetches an unbound value: in place if it fits, else into the arena. */
int
pc_get_value(pc_cursor *c, pc_buffer *b, pc_block *blk, int32_t col, int32_t row)
{
	pc_col	   *cc = &c->cols[col];
	char	   *slot = pc_slot(blk, col, row);
	char		text[NATIVE_TEXT_WIDTH];
	char	   *to = cc->via_text ? text : slot;
	int64_t		width = cc->via_text ? NATIVE_TEXT_WIDTH : cc->width;
	int64_t		room = cc->via_text ? NATIVE_TEXT_WIDTH - 1 : cc->room;
	SQLLEN		ind = SQL_NO_TOTAL;
	SQLRETURN	rc;
	int64_t		got;

	if (cc->variable && cc->ctype == SQL_C_CHAR)
		memset(slot + room - GUARD, 1, GUARD + 1);
	rc = SQLGetData(c->stmt, (SQLUSMALLINT) (col + 1), cc->ctype, to, (SQLLEN) width, &ind);
	if (!SQL_SUCCEEDED(rc))
		return PC_FETCH_DIAG;
	pc_ind(blk, col)[row] = ind;
	if (ind == SQL_NULL_DATA)
		return 0;
	if (cc->via_text)
	{
		if (ind < 0 || ind > room)
			return pc_own_error(c, "22003", "a value of column %d is too long for its type", col + 1);
		return pc_from_text(c, col, text, ind, slot);
	}
	if (!cc->variable)
		return rc == SQL_SUCCESS ? 0 : PC_FETCH_DIAG;
	if (ind >= 0 && ind <= room)
		return 0;
	if (ind < 0 && ind != SQL_NO_TOTAL)
		return pc_own_error(c, "HY000", "the driver gave indicator %lld for column %d", (long long) ind, col + 1);
	if (ind > c->o.max_value)
		return too_long(c, col);
	got = cc->ctype == SQL_C_CHAR ? written(slot, room) : room;
	if (got < 0)
		return pc_own_error(c, "22001", "the driver returned a part of column %d without its end", col + 1);
	{
		int64_t		off = blk->arena_len;
		int			err = need(c, b, col, off, got + FIRST_CHUNK);

		if (err != 0)
			return err;
		memcpy(blk->arena + off, slot, (size_t) got);
		return get_rest(c, b, blk, col, row, off, got, ind >= 0 ? (int64_t) ind : -1);
	}
}
