/* cursor.h: the state of a cursor, shared by the files of the fetch loop. */
#ifndef PORTCULLIS_CURSOR_H
#define PORTCULLIS_CURSOR_H

#include <stdbool.h>
#include "fetch.h"

#define STATUS_UNSET	((SQLUSMALLINT) 0xffff)
#define FETCHED_UNSET	((SQLULEN) -1)
#define IND_UNSET		((SQLLEN) INT64_MIN)

#define NATIVE_TEXT_WIDTH	64	/* room for a number or date as text, doubtful drivers */

typedef struct pc_col
{
	int32_t		kind;
	SQLSMALLINT ctype;			/* C type bound; SQL_C_CHAR when via_text */
	bool		variable;		/* TEXT or BYTES */
	bool		via_text;		/* fixed kind fetched as text and converted here */
	bool		unbound;		/* row mode: always by SQLGetData */
	int32_t		want;			/* room wished for */
	int32_t		width;			/* as in pc_column */
	int32_t		room;
	int64_t		seen;			/* values since the last layout, for growth */
	int64_t		over;			/* of these, longer than room */
	int64_t		over_bytes;
	char	   *text;			/* via_text: text as fetched, NATIVE_TEXT_WIDTH a row */
	char	   *scratch;		/* row mode: where the row is bound */
	SQLLEN		scratch_ind;	/* IND_UNSET until the driver writes it */
} pc_col;

struct pc_cursor
{
	SQLHSTMT	stmt;
	pc_cursor_options o;
	int32_t		ncols;
	pc_col	   *cols;
	int32_t		rows;			/* rows a block holds under the present layout */
	bool		set_pos;		/* block mode: long values can be fetched again */
	bool		whole;			/* block mode because every text gets its declared length */
	bool		row_mode;		/* array size 1, loop here */
	bool		row_bound;		/* row mode: scratch is bound */
	bool		relayout;
	bool		ended;
	bool		short_set;		/* block mode: the last row set was not full */
	SQLULEN		array_size;		/* as last told to the driver */
	SQLULEN		fetched;
	SQLUSMALLINT *status;		/* block_rows entries */
	char	   *scratch;

	/* A row set delivered in parts because its long values are big. */
	int32_t		carry_from;		/* first row of the row set not delivered yet */
	int32_t		carry_rows;		/* rows left, 0 none */
	char	   *carry;			/* their bound data: per column indicators, values */

	char		state[6];
	char		message[256];
};

/* layout.c */
int			pc_layout(pc_cursor *c, const pc_buffer *b);
pc_block   *pc_place(pc_cursor *c, pc_buffer *b);
void		pc_note_growth(pc_cursor *c);

/* long.c: return 0, PC_FETCH_DIAG or PC_FETCH_OWN */
int			pc_get_long(pc_cursor *c, pc_buffer *b, pc_block *blk, int32_t col, int32_t row, int64_t known);
int			pc_get_value(pc_cursor *c, pc_buffer *b, pc_block *blk, int32_t col, int32_t row);

/* convert.c */
int			pc_from_text(pc_cursor *c, int32_t col, const char *text, int64_t len, void *to);

/* rows.c */
int64_t		pc_fetch_rows(pc_cursor *c, pc_buffer *b, pc_block *blk);

/* fetch.c */
SQLRETURN	pc_count_in(pc_cursor *c, SQLULEN array_size);
int			pc_only_truncation(pc_cursor *c);
int			pc_no_rows(pc_cursor *c);
bool		pc_overflows(const pc_col *col, int64_t ind);
int			pc_check_indicator(pc_cursor *c, int32_t col, int64_t ind);
int			pc_own_error(pc_cursor *c, const char *state, const char *fmt,...)
	__attribute__((format(printf, 3, 4)));

static inline int64_t *
pc_ind(pc_block *blk, int32_t col)
{
	return blk->cols[col].ind;
}

static inline char *
pc_slot(pc_block *blk, int32_t col, int32_t row)
{
	return blk->cols[col].data + (size_t) row * (size_t) blk->cols[col].width;
}

#endif
