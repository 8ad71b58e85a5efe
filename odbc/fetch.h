/*
 * fetch.h: the fetch loop and the few calls around it that run in C, so that
 * a block of rows costs one call from Go.
 */
#ifndef PORTCULLIS_FETCH_H
#define PORTCULLIS_FETCH_H

#include <stddef.h>
#include <stdint.h>
#include <sql.h>
#include <sqlext.h>
#include "block.h"

/* Results of the functions below where they say so. */
#define PC_FETCH_END		0	/* no more rows */
#define PC_FETCH_DIAG		(-1)	/* failed: diagnostics are on the statement */
#define PC_FETCH_OWN		(-2)	/* failed: state and message are in the cursor */

/* Asked of pc_cursor_new only: a PC_KIND_FLOAT64 that arrives as the integer of its bits. */
#define PC_FETCH_FLOAT64_BITS	9

/* A bound parameter; data stays valid until the statement is closed. */
typedef struct pc_param
{
	int32_t		ctype;
	int32_t		sqltype;
	int64_t		size;			/* column size, at least 1 */
	int64_t		len;			/* bytes of data, or SQL_NULL_DATA */
	SQLLEN		ind;
	void	   *data;
} pc_param;

/* The type of a result's column. */
typedef struct pc_type
{
	SQLLEN		sqltype;
	SQLLEN		is_unsigned;
	SQLLEN		precision;		/* of an exact number, else 0 */
	char		name[256];		/* the source's own */
} pc_type;

/* One block's memory: [0, fixed) for what is bound, then the arena. */
typedef struct pc_buffer
{
	char	   *base;
	size_t		fixed;
	size_t		reserve;		/* of the whole, address space only */
	size_t		arena_high;		/* most arena bytes ever touched since given back */
} pc_buffer;

typedef struct pc_cursor_options
{
	int32_t		block_rows;
	int32_t		text_room;
	int64_t		block_bytes;
	uint32_t	getdata;		/* SQL_GETDATA_EXTENSIONS */
	int32_t		native;			/* trust native binds of this driver */
	int32_t		keeps_lengths;	/* no value is longer than declared */
	int32_t		null_as_cut;	/* truncation is also reported where a column is NULL */
	int64_t		max_value;		/* longest value accepted, bytes */
} pc_cursor_options;

typedef struct pc_cursor pc_cursor;

SQLRETURN	pc_execute(SQLHSTMT stmt, int wide, const void *sql, int32_t len,
					   pc_param *params, int32_t n);
SQLRETURN	pc_column_type(SQLHSTMT stmt, int32_t i, pc_type *type);

SQLRETURN	pc_set_connect(SQLHDBC dbc, SQLINTEGER attribute, SQLULEN value);
SQLRETURN	pc_odbc3(SQLHENV env);

pc_cursor  *pc_cursor_new(SQLHSTMT stmt, int32_t ncols, const int32_t *kinds,
						  const int64_t *maxlens, const pc_cursor_options *o);
void		pc_cursor_free(pc_cursor *c);
int64_t		pc_cursor_fetch(pc_cursor *c, pc_buffer *b);
const char *pc_cursor_state(const pc_cursor *c);
const char *pc_cursor_message(const pc_cursor *c);
int32_t		pc_cursor_rows(const pc_cursor *c);
int			pc_cursor_near_end(const pc_cursor *c);

int			pc_buffers_new(pc_buffer *b, int32_t n, int64_t fixed);
void		pc_buffers_free(pc_buffer *b, int32_t n);
void		pc_buffer_trim(pc_buffer *b);

#endif
