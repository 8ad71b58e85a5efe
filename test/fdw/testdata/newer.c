/*
 * newer.c: what the module of a later version has and today's does not: a
 * function that is called from SQL.
 */
#include "postgres.h"

#include "fmgr.h"

PG_FUNCTION_INFO_V1(portcullis_newer);

Datum
portcullis_newer(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(PG_GETARG_INT32(0) + 1);
}
