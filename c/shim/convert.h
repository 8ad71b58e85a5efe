/*
 * convert.h: one column on its way from a block to a Datum.
 */
#ifndef PORTCULLIS_CONVERT_H
#define PORTCULLIS_CONVERT_H

#include "fdw.h"
#include "utils/numeric.h"

typedef struct pc_value pc_value;

/* Converts the value in physical row i, which is not NULL. */
typedef Datum (*pc_convert) (pc_value *v, const pc_column *src, int i);

struct pc_value
{
	int			kind;			/* of the block that convert was chosen for, 0: none yet */
	pc_convert	convert;
	int			index;			/* into the slot */
	AttrNumber	attnum;
	Oid			type;			/* declared */
	Oid			base;			/* below domains */
	int32		typmod;			/* of the base type */
	bool		is_domain;
	void	   *domain_cache;
	MemoryContext cxt;			/* lives as long as the scan */

	/* a varlena made here, used again for the next row */
	char	   *buffer;
	Size		room;

	/* any other type: its input function */
	FmgrInfo	input;
	Oid			ioparam;
	bool		input_ready;
};

/* convert_number.c, convert_text.c, convert_time.c: NULL where the kind cannot become the type directly */
extern pc_convert pc_number_converter(int kind, Oid base, int32 typmod);
extern pc_convert pc_text_converter(int kind, Oid base, int32 typmod);
extern pc_convert pc_time_converter(int kind, Oid base, int32 typmod);

/* Any kind through its text and the type's input function. */
extern Datum pc_convert_by_input(pc_value *v, const pc_column *src, int i);
extern Datum pc_input(pc_value *v, const char *text);

extern char *pc_shortest(double d);

/* A varlena of len bytes of content, valid until the column's next value. */
extern char *pc_value_buffer(pc_value *v, Size len);

extern void pc_does_not_fit(pc_value *v, const char *text) __attribute__((noreturn));

/* Where a TEXT or BYTES value lies. */
extern const char *pc_column_arena;	/* of the block being read */

static inline const char *
pc_bytes_at(const pc_column *src, int i, Size *len)
{
	const char *at = src->data + (Size) i * src->width;

	*len = (Size) src->ind[i];
	if (src->ind[i] <= src->room)
		return at;
	return pc_column_arena + *(const int64_t *) at;
}

#endif
