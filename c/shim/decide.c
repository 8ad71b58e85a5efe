/*
 * decide.c: the decisions of a governed statement: asked for at its start,
 * and again while it runs.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "govern.h"
#include "loader.h"
#include "session.h"
#include "shmem.h"

/* A running statement asks again so often; what the library has cached it answers at once. */
#define RECHECK_MS 1000

/* Takes the denials out of the decisions; answers the first one's index, -1: there is none. */
static int
first_denial(pc_decision *decisions, int n, pc_error *denial)
{
	int			found = -1;

	for (int i = 0; i < n; i++)
	{
		pc_decision *d = &decisions[i];

		if (d->allowed)
			continue;
		if (found < 0)
			*denial = d->denial;
		else
			PC_CALL_VOID(error_free, &d->denial);
		memset(&d->denial, 0, sizeof(d->denial));
		if (found < 0)
			found = i;
	}
	return found;
}

/* Only here the table's name is known. One that is not discoverable is refused as one that is not there. */
static void
refuse_denied(Oid relid, pc_error *denial)
{
	bool		discoverable = strcmp(denial->sqlstate, "42P01") != 0;
	char	   *detail = denial->detail ? pstrdup(denial->detail) : NULL;
	char	   *hint = denial->hint ? pstrdup(denial->hint) : NULL;

	PC_CALL_VOID(error_free, denial);
	if (!discoverable)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s\" does not exist", pc_qualified_name(relid))));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for table %s", get_rel_name(relid)),
			 detail ? errdetail_internal("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0));
}

static void
refuse_unregistered(pc_frame *frame)
{
	for (int i = 0; i < frame->n; i++)
		if (frame->sources[i] == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("%s is not a data source", frame->names[i]),
					 errhint("Check the name. An administrator registers a table with immutasys.create_data_source().")));
}

static void
refuse_unconfigured(void)
{
	if (!pc_configured())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no policy service is configured on this server"),
				 errdetail("Without its decision no governed data can be read."),
				 errhint("An administrator calls immutasys.configure().")));
}

/* What the decisions were made for, so that a change shows. */
static void
stamp(pc_frame *frame, const pc_session *session)
{
	frame->epoch = session->epoch;
	frame->impersonation = pc_impersonation_generation();
	frame->decided_at = pc_clock_ms();
}

static void
decide(pc_frame *frame)
{
	MemoryContext old;
	pc_error	denial = {0};
	int			denied;

	pc_session_check_role();
	refuse_unconfigured();
	frame->audited = true;		/* the configuration may have come since the frame was made */
	old = MemoryContextSwitchTo(frame->context);
	pc_session_fill(&frame->session);
	MemoryContextSwitchTo(old);
	refuse_unregistered(frame);
	pc_refuse_storing(frame->query);
	stamp(frame, &frame->session);
	pc_decide_together(&frame->session, frame, frame->decisions);
	denied = first_denial(frame->decisions, frame->n, &denial);
	if (denied >= 0)
		refuse_denied(frame->relids[denied], &denial);
	pc_running_enter(frame);
}

/* An interrupted statement was not refused. */
static bool
is_refusal(const ErrorData *edata)
{
	int			category = ERRCODE_TO_CATEGORY(edata->sqlerrcode);

	return category != ERRCODE_OPERATOR_INTERVENTION && category != ERRCODE_IO_ERROR &&
		edata->sqlerrcode != ERRCODE_OUT_OF_MEMORY;
}

void
pc_decide_frame(pc_frame *frame)
{
	MemoryContext old = CurrentMemoryContext;

	PG_TRY();
	{
		decide(frame);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(old);
		edata = CopyErrorData();
		FlushErrorState();
		if (frame->audited && is_refusal(edata))
			pc_record_denied(frame, unpack_sql_state(edata->sqlerrcode), edata->message);
		ReThrowError(edata);
	}
	PG_END_TRY();
}

static void
refuse_changed(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("access changed while the statement was running"),
			 errhint("Run the statement again: it is decided anew.")));
}

static bool
same_answers(pc_frame *frame, const pc_decision *now)
{
	for (int i = 0; i < frame->n; i++)
		if (!now[i].allowed || now[i].digest != frame->decisions[i].digest)
			return false;
	return true;
}

static void
decide_again(pc_frame *frame)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "portcullis decision", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	pc_decision *now = palloc0(frame->n * sizeof(pc_decision));
	pc_session	session;
	pc_error	denial = {0};
	bool		same;

	pc_session_check_role();
	pc_session_fill(&session);
	pc_decide_together(&session, frame, now);
	same = same_answers(frame, now);
	if (first_denial(now, frame->n, &denial) >= 0)
		PC_CALL_VOID(error_free, &denial);
	if (!same)
		refuse_changed();
	stamp(frame, &session);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

void
pc_check_frame(pc_frame *frame)
{
	if (GetSessionUserId() != frame->role)
		refuse_changed();
	if (!frame->governed)
		return;
	if (pc_impersonation_generation() != frame->impersonation)
		refuse_changed();
	if (pc_epoch() != frame->epoch ||
		pc_clock_ms() - frame->decided_at >= RECHECK_MS)
		decide_again(frame);
}
