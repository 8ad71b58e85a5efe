/*
 * record.c: audit records of statements: composed by the library, put into
 * the ring.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "govern.h"
#include "loader.h"
#include "seal.h"
#include "session.h"
#include "shmem.h"

static void
prepare(pc_audit_request *request, pc_frame *frame, const char *kind)
{
	memset(request, 0, sizeof(*request));
	request->session = &frame->session;
	request->kind = kind;
	request->record_id = frame->record_id;
	request->query_id = frame->query_id;
	request->tables = (const char *const *) frame->names;
	request->ntables = frame->n;
}

/* Where nobody could type a secret, its name would only hide what they did. */
static char *
statement_of(const pc_frame *frame)
{
	char	   *text = pc_statement_text(frame->query);

	return frame->may_hold_secret ? pc_without_constants(text) : text;
}

/* Appends the record; the text is the library's until then. */
static uint64
append(const pc_audit_request *request, Oid role)
{
	pc_error	err = {0};
	char	   *record = NULL;
	char	   *copy;

	if (PC_CALL(audit_record, request, &record, &err) != PC_OK)
		pc_throw(&err);
	copy = pstrdup(record);
	PC_CALL_VOID(free, record);
	return pc_spool_append(copy, role);
}

void
pc_record_intent(pc_frame *frame)
{
	pc_audit_request request;
	MemoryContext old = MemoryContextSwitchTo(frame->context);

	prepare(&request, frame, "intent");
	request.statement = statement_of(frame);
	request.scans = frame->scans;
	request.nscans = frame->nscans;
	frame->position = append(&request, frame->role);
	frame->recorded = true;
	MemoryContextSwitchTo(old);
}

/* A refusal is told only once its record is durable. */
void
pc_record_denied(pc_frame *frame, const char *sqlstate, const char *reason)
{
	pc_audit_request request;

	prepare(&request, frame, "denied");
	request.statement = statement_of(frame);
	request.sqlstate = sqlstate;
	request.message = reason;
	pc_spool_wait(append(&request, frame->role));
	pg_atomic_fetch_add_u64(&pc_shm->denials, 1);
}

void
pc_record_completion(pc_frame *frame)
{
	pc_audit_request request;
	pc_error	err = {0};
	char	   *record = NULL;

	prepare(&request, frame, "completion");
	request.rows = frame->rows;
	request.bytes = frame->bytes;
	request.sqlstate = frame->sqlstate[0] != '\0' ? frame->sqlstate : NULL;
	if (!pc_engine_loaded() || PC_CALL(audit_record, &request, &record, &err) != PC_OK)
	{
		if (pc_engine_loaded())
			PC_CALL_VOID(error_free, &err);
		pg_atomic_fetch_add_u64(&pc_shm->completions_lost, 1);
		return;
	}
	if (!pc_spool_append_nowait(record, frame->role))
		pg_atomic_fetch_add_u64(&pc_shm->completions_lost, 1);
	PC_CALL_VOID(free, record);
}
