/*
 * block.h: the layout of a block of rows.
 *
 * Written by the fetch loop of package odbc, read by the shim.  Everything
 * that a block points to lies in one mapping (MAP_SHARED), so that a driver
 * may one day fill it from another process; inside one process the pointers
 * below are simply valid.
 */
#ifndef PORTCULLIS_BLOCK_H
#define PORTCULLIS_BLOCK_H

#include <stdint.h>

/* How the values of a column lie in pc_column.data. */
typedef enum pc_kind
{
	PC_KIND_INT64 = 1,			/* int64_t */
	PC_KIND_UINT64 = 2,			/* uint64_t */
	PC_KIND_FLOAT64 = 3,		/* double */
	PC_KIND_BOOL = 4,			/* uint8_t, 0 or 1 */
	PC_KIND_TEXT = 5,			/* UTF-8 bytes, not yet verified, no terminator counted */
	PC_KIND_BYTES = 6,			/* bytes */
	PC_KIND_DATE = 7,			/* SQL_DATE_STRUCT */
	PC_KIND_TIMESTAMP = 8		/* SQL_TIMESTAMP_STRUCT, fraction in nanoseconds */
} pc_kind;

#define PC_NULL (-1)			/* indicator of a NULL */

/*
 * One column.  Fixed kinds: value i at data + i * width.  TEXT and BYTES:
 * ind[i] is the length in bytes; if ind[i] <= room the value lies at
 * data + i * width, else *(int64_t *) (data + i * width) is its offset in the
 * block's arena.  (room is width less the terminator that drivers write.)
 * A column that nothing was fetched for (masked by NULL) has data NULL:
 * every row shows NULL.
 */
typedef struct pc_column
{
	int32_t		kind;			/* pc_kind */
	int32_t		width;			/* bytes from one value to the next, multiple of 8 for TEXT and BYTES */
	int32_t		room;			/* TEXT, BYTES: longest value that lies in place */
	int32_t		spare;
	char	   *data;
	int64_t    *ind;			/* indicators, one a row */
} pc_column;

typedef struct pc_block
{
	int32_t		nrows;			/* rows to deliver */
	int32_t		ncols;
	const int32_t *rows;		/* physical row numbers to deliver, or NULL: 0 .. nrows-1 */
	pc_column  *cols;
	char	   *arena;			/* values that did not fit in place */
	int64_t		arena_len;
} pc_block;

#endif
