/*
 * errors.c: errors of the library become errors of PostgreSQL, and tickets
 * never outlive them.
 */
#include "postgres.h"

#include "compat.h"
#include "utils/wait_event.h"

#include "loader.h"

void
pc_throw(pc_error *err)
{
	pc_report(ERROR, err);
	pg_unreachable();
}

void
pc_report(int level, pc_error *err)
{
	char	   *message = pstrdup(err->message ? err->message : "unknown error of the portcullis library");
	char	   *detail = err->detail && err->detail[0] ? pstrdup(err->detail) : NULL;
	char	   *hint = err->hint && err->hint[0] ? pstrdup(err->hint) : NULL;
	int			code = ERRCODE_INTERNAL_ERROR;

	if (strlen(err->sqlstate) == 5 && strspn(err->sqlstate, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5)
		code = MAKE_SQLSTATE(err->sqlstate[0], err->sqlstate[1], err->sqlstate[2],
							 err->sqlstate[3], err->sqlstate[4]);
	if (pc_engine_loaded())
		PC_CALL_VOID(error_free, err);
	memset(err, 0, sizeof(*err));
	ereport(level,
			(errcode(code),
			 errmsg_internal("%s", message),
			 detail ? errdetail_internal("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0));
}

void
pc_ticket_rows(uint64_t ticket, pc_rows *rows)
{
	volatile uint64_t live = ticket;

	PG_TRY();
	{
		for (;;)
		{
			pc_error	err = {0};
			int32		rc;

			pc_check_client();
			rc = PC_CALL(ticket_result, ticket, rows, &err);

			if (rc == PC_OK)
				break;
			if (rc != PC_WAIT)
			{
				live = 0;		/* a failed ticket is free already */
				pc_throw(&err);
			}
			(void) pc_wait_progress(-1, PG_WAIT_EXTENSION);
		}
	}
	PG_CATCH();
	{
		if (live != 0 && pc_engine_loaded())
			PC_CALL_VOID(ticket_cancel, live);
		PG_RE_THROW();
	}
	PG_END_TRY();
}
