/*
 * layout.c: how many rows a block holds and where its columns lie.
 *
 * The bound on a block's bytes is met by giving texts less room, then by
 * fewer rows; values that do not fit go to the arena.
 */
#include <string.h>
#include "cursor.h"

#define ROOM_MAX		4096	/* most bytes a value may take in place */
#define ROOM_MIN		15
#define ROWS_WISHED		64		/* texts get less room before a block gets fewer rows */

static size_t
align8(size_t n)
{
	return (n + 7) & ~(size_t) 7;
}

static size_t
header_size(const pc_cursor *c)
{
	return align8(sizeof(pc_block)) + align8(sizeof(pc_column) * (size_t) c->ncols);
}

/* Gives every text the room it wants, at most cap; returns bytes a row. */
static size_t
give_room(pc_cursor *c, int32_t cap)
{
	size_t		row = 0;

	for (int32_t i = 0; i < c->ncols; i++)
	{
		pc_col	   *col = &c->cols[i];

		if (col->variable)
		{
			int32_t		terminator = col->ctype == SQL_C_CHAR ? 1 : 0;
			int32_t		room = col->want < cap ? col->want : cap;

			col->width = (int32_t) align8((size_t) (room + terminator));
			col->room = col->width - terminator;
		}
		row += (size_t) col->width + sizeof(int64_t);
	}
	return row;
}

/* Computes widths and rows.  Returns 0, or PC_FETCH_OWN when not one row fits. */
int
pc_layout(pc_cursor *c, const pc_buffer *b)
{
	/* each column's two arrays may lose 8 bytes to alignment */
	size_t		spare = header_size(c) + 16 * (size_t) c->ncols;
	size_t		room = b->fixed > spare ? b->fixed - spare : 0;
	size_t		wished = c->o.block_rows < ROWS_WISHED ? (size_t) c->o.block_rows : ROWS_WISHED;
	int32_t		cap = ROOM_MAX;
	size_t		row = give_room(c, cap);

	while (room / row < wished && cap > ROOM_MIN)
	{
		if (c->whole)
		{
			/* room cannot be had for all: row by row then */
			c->whole = false;
			c->row_mode = true;
		}
		cap /= 2;
		row = give_room(c, cap);
	}
	if (room < row)
		return pc_own_error(c, "54011", "a row of %d columns does not fit in a block of %lld bytes",
							c->ncols, (long long) c->o.block_bytes);
	c->rows = room / row < (size_t) c->o.block_rows ? (int32_t) (room / row) : c->o.block_rows;
	c->relayout = false;
	for (int32_t i = 0; i < c->ncols; i++)
		c->cols[i].seen = c->cols[i].over = c->cols[i].over_bytes = 0;
	return 0;
}

/* Writes an empty block's header and column table into the buffer. */
pc_block *
pc_place(pc_cursor *c, pc_buffer *b)
{
	pc_block   *blk = (pc_block *) b->base;
	size_t		at = header_size(c);

	memset(b->base, 0, at);
	blk->ncols = c->ncols;
	blk->cols = (pc_column *) (b->base + align8(sizeof(pc_block)));
	blk->arena = b->base + b->fixed;
	for (int32_t i = 0; i < c->ncols; i++)
	{
		pc_column  *to = &blk->cols[i];

		to->kind = c->cols[i].kind;
		to->width = c->cols[i].width;
		to->room = c->cols[i].room;
		to->ind = (int64_t *) (b->base + at);
		at += sizeof(int64_t) * (size_t) c->rows;
		to->data = b->base + at;
		at = align8(at + (size_t) to->width * (size_t) c->rows);
	}
	return blk;
}

/* When more than one value in sixteen was too long, later blocks give more room. */
void
pc_note_growth(pc_cursor *c)
{
	for (int32_t i = 0; i < c->ncols && !c->whole; i++)
	{
		pc_col	   *col = &c->cols[i];
		int64_t		mean;

		if (!col->variable || col->over * 16 <= col->seen || col->want >= ROOM_MAX)
			continue;
		mean = col->over_bytes / col->over;
		if (mean > ROOM_MAX)
			continue;			/* in the arena they are no worse off */
		col->want = (int32_t) (mean + mean / 4 < ROOM_MAX ? mean + mean / 4 : ROOM_MAX);
		c->relayout = true;
	}
}
