/*
 * govern.c: the executor's hooks.  A plan enforces nothing: each execution of
 * a statement over our tables is decided at its start, its scans get their
 * decision from here, and while it runs the decision is checked.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/memutils.h"

#include "compat.h"
#include "govern.h"
#include "session.h"
#include "shmem.h"

static ExecutorStart_hook_type next_start = NULL;
static ExecutorRun_hook_type next_run = NULL;
static ExecutorFinish_hook_type next_finish = NULL;
static ExecutorEnd_hook_type next_end = NULL;

/* The statement whose scans are being begun. */
static pc_frame *starting = NULL;

static void
call_start(QueryDesc *query, int eflags)
{
	if (next_start)
		next_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

static void
refuse_parallel_worker(void)
{
	if (IsParallelWorker())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("governed tables cannot be read in a parallel worker"),
				 errhint("Declare the function that reads them PARALLEL RESTRICTED.")));
}

static void
start_frame(pc_frame *frame, QueryDesc *query, int eflags)
{
	pc_frame   *outer = starting;

	PG_TRY();
	{
		if (frame->governed)
		{
			refuse_parallel_worker();
			pc_decide_frame(frame);
		}
		starting = frame;
		call_start(query, eflags);
		pc_frame_adopt(frame, query->estate);
		if (frame->audited)
			pc_record_intent(frame);
	}
	PG_CATCH();
	{
		starting = outer;
		pc_frame_note_error(frame);
		if (!frame->adopted)
			pc_frame_drop(frame);
		PG_RE_THROW();
	}
	PG_END_TRY();
	starting = outer;
}

static void
executor_start(QueryDesc *query, int eflags)
{
	List	   *relids = pc_plan_relations(query->plannedstmt);

	if (relids == NIL)
		call_start(query, eflags);
	else if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
	{
		if (pc_session_governed())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("plans over governed tables are not shown")));
		call_start(query, eflags);
	}
	else
		start_frame(pc_frame_create(query, relids), query, eflags);
}

/* CREATE TABLE AS EXECUTE names its receiver only now. */
static void
check_run(pc_frame *frame)
{
	if (frame->governed)
		pc_refuse_storing(frame->query);
	pc_check_frame(frame);
}

static void
executor_run(PC_RUN_PARAMETERS)
{
	pc_frame   *frame = pc_frame_of_query(query);

	PG_TRY();
	{
		if (frame != NULL)
			check_run(frame);
		if (next_run)
			next_run(PC_RUN_ARGUMENTS);
		else
			standard_ExecutorRun(PC_RUN_ARGUMENTS);
	}
	PG_CATCH();
	{
		pc_frame_note_error(frame);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static void
executor_finish(QueryDesc *query)
{
	pc_frame   *frame = pc_frame_of_query(query);

	PG_TRY();
	{
		if (next_finish)
			next_finish(query);
		else
			standard_ExecutorFinish(query);
	}
	PG_CATCH();
	{
		pc_frame_note_error(frame);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* The completion is recorded when the executor's state goes, which is inside the call. */
static void
executor_end(QueryDesc *query)
{
	pc_frame   *frame = pc_frame_of_query(query);

	if (frame != NULL)
		frame->ended = true;
	PG_TRY();
	{
		if (next_end)
			next_end(query);
		else
			standard_ExecutorEnd(query);
	}
	PG_CATCH();
	{
		frame = pc_frame_of_query(query);
		if (frame != NULL)
			frame->ended = false;
		pc_frame_note_error(frame);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* ---- what scans ask ------------------------------------------------------ */

static pc_frame *
frame_of_estate(EState *estate)
{
	if (starting != NULL && starting->stmt == estate->es_plannedstmt)
		return starting;
	return pc_frame_of_stmt(estate->es_plannedstmt);
}

/* The decision of the statement for the table; anything amiss is refused. */
static uint64
decision_for(pc_frame *frame, Relation rel, const char *data_source)
{
	refuse_parallel_worker();
	if (frame != NULL && frame->governed && data_source != NULL)
		for (int i = 0; i < frame->n; i++)
			if (frame->relids[i] == RelationGetRelid(rel) && frame->decisions[i].allowed &&
				frame->decisions[i].id != 0 && strcmp(frame->sources[i], data_source) == 0)
				return frame->decisions[i].id;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("no decision was made for \"%s\" in this statement", RelationGetRelationName(rel)),
			 errhint("Name the table in the statement itself.")));
}

void
pc_govern_scan(EState *estate, Relation rel, const char *data_source, pc_scan_grant *grant)
{
	pc_frame   *frame;

	memset(grant, 0, sizeof(*grant));
	if (!pc_preloaded)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("portcullis must be loaded at the server's start"),
				 errhint("Add portcullis to shared_preload_libraries and restart the server.")));
	frame = frame_of_estate(estate);
	if (pc_session_governed())
		grant->decision = decision_for(frame, rel, data_source);
	if (frame == NULL)
		return;
	grant->query_id = frame->query_id;
	if (frame->governed || frame->audited)
		grant->frame = frame;
	pc_frame_adopt(frame, estate);
}

void
pc_govern_scan_begun(struct pc_frame *frame, uint64_t scan)
{
	if (frame == NULL || frame->recorded)
		return;
	if (frame->nscans == frame->scans_room)
	{
		frame->scans_room = Max(4, 2 * frame->scans_room);
		frame->scans = frame->scans == NULL
			? MemoryContextAlloc(frame->context, frame->scans_room * sizeof(uint64))
			: repalloc(frame->scans, frame->scans_room * sizeof(uint64));
	}
	frame->scans[frame->nscans++] = scan;
}

void
pc_govern_block(struct pc_frame *frame)
{
	if (frame == NULL)
		return;
	if (!frame->durable && frame->recorded)
	{
		pc_spool_wait(frame->position);
		frame->durable = true;
	}
	pc_check_frame(frame);
}

void
pc_govern_row(struct pc_frame *frame)
{
	if (unlikely(frame->governed && pc_epoch() != frame->epoch))
		pc_check_frame(frame);
}

void
pc_govern_scan_ended(struct pc_frame *frame, const pc_scan_stats *stats)
{
	if (frame == NULL)
		return;
	frame->rows += stats->rows;
	frame->bytes += stats->bytes;
}

void
pc_govern_init(void)
{
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
	next_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
	next_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = executor_finish;
	next_end = ExecutorEnd_hook;
	ExecutorEnd_hook = executor_end;
	pc_utility_init();
	pc_login_init();
}
