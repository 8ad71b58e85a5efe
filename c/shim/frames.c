/*
 * frames.c: the statements now running that read our tables.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "storage/ipc.h"
#include "utils/lsyscache.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "miscadmin.h"

#include "govern.h"
#include "loginrecord.h"
#include "session.h"
#include "shmem.h"

static dlist_head frames = DLIST_STATIC_INIT(frames);

/* Names a statement towards the sources: unique in the instance for long enough. */
static int64
next_query_id(void)
{
	static uint32 statements = 0;

	return (int64) ((uint64) (uint32) MyProcPid << 32 | ++statements);
}

char *
pc_qualified_name(Oid relid)
{
	return psprintf("%s.%s", get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

static void
fill_tables(pc_frame *frame, List *relids)
{
	ListCell   *lc;

	frame->relids = palloc(list_length(relids) * sizeof(Oid));
	frame->sources = palloc0(list_length(relids) * sizeof(char *));
	frame->names = palloc0(list_length(relids) * sizeof(char *));
	frame->decisions = palloc0(list_length(relids) * sizeof(pc_decision));
	foreach(lc, relids)
	{
		int			i = frame->n++;

		frame->relids[i] = lfirst_oid(lc);
		frame->sources[i] = pc_relation_data_source(lfirst_oid(lc));
		frame->names[i] = frame->sources[i] ? frame->sources[i] : pc_qualified_name(lfirst_oid(lc));
	}
}

pc_frame *
pc_frame_create(QueryDesc *query, List *relids)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "portcullis statement", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	pc_frame   *frame = palloc0(sizeof(pc_frame));

	frame->context = context;
	frame->query = query;
	frame->stmt = query->plannedstmt;
	frame->query_id = next_query_id();
	dlist_push_head(&frames, &frame->node);
	PG_TRY();
	{
		pc_make_uuid(frame->record_id);
		fill_tables(frame, relids);
		pc_session_describe(&frame->session);
		frame->may_hold_secret = pc_may_take_secret();
	}
	PG_CATCH();
	{
		pc_frame_drop(frame);
		PG_RE_THROW();
	}
	PG_END_TRY();
	frame->role = GetSessionUserId();
	frame->governed = frame->session.governed;
	frame->audited = frame->governed ? pc_configured() : pc_guc_audit_exempt && (pc_configured() || pc_config_unread());
	MemoryContextSwitchTo(old);
	return frame;
}

void
pc_frame_drop(pc_frame *frame)
{
	pc_running_leave(frame);
	dlist_delete(&frame->node);
	MemoryContextDelete(frame->context);
}

/* The executor's state goes: at its end, or in an abort, where nothing may be raised. */
static void
executor_gone(void *arg)
{
	pc_frame   *frame = arg;

	if (!frame->ended && frame->sqlstate[0] == '\0')
		strlcpy(frame->sqlstate, proc_exit_inprogress ? "57P01" : "40000", sizeof(frame->sqlstate));
	if (frame->recorded)
		pc_record_completion(frame);
	pc_frame_drop(frame);
}

void
pc_frame_adopt(pc_frame *frame, EState *estate)
{
	if (frame->adopted)
		return;
	frame->adopted = true;
	frame->callback.func = executor_gone;
	frame->callback.arg = frame;
	MemoryContextRegisterResetCallback(estate->es_query_cxt, &frame->callback);
}

pc_frame *
pc_frame_of_query(QueryDesc *query)
{
	dlist_iter	iter;

	dlist_foreach(iter, &frames)
	{
		pc_frame   *frame = dlist_container(pc_frame, node, iter.cur);

		if (frame->query == query)
			return frame;
	}
	return NULL;
}

/* The innermost execution of a plan. */
pc_frame *
pc_frame_of_stmt(PlannedStmt *stmt)
{
	dlist_iter	iter;

	dlist_foreach(iter, &frames)
	{
		pc_frame   *frame = dlist_container(pc_frame, node, iter.cur);

		if (frame->stmt == stmt)
			return frame;
	}
	return NULL;
}

void
pc_frame_note_error(pc_frame *frame)
{
	if (frame != NULL && frame->sqlstate[0] == '\0')
		strlcpy(frame->sqlstate, unpack_sql_state(geterrcode()), sizeof(frame->sqlstate));
}
