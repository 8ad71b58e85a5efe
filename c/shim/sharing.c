/*
 * sharing.c: where a statement's decisions come from: this session's cache,
 * what the node shares, or the service, which only one of those asks that
 * want the same at once.
 */
#include "postgres.h"

#include "utils/wait_event.h"

#include "decisionstore.h"
#include "govern.h"
#include "loader.h"
#include "shmem.h"

/* Waits for a ticket and fills out; the ticket is gone afterwards, whatever happens. */
static void
await(uint64_t ticket, pc_decision *out, int n)
{
	pc_error	err = {0};
	volatile bool live = true;

	PG_TRY();
	{
		for (;;)
		{
			int32		rc = PC_CALL(decide_result, ticket, out, n, &err);

			if (rc != PC_WAIT)
				live = false;
			if (rc == PC_OK)
				break;
			if (rc != PC_WAIT)
				pc_throw(&err);
			(void) pc_wait_progress(-1, PG_WAIT_EXTENSION);
		}
	}
	PG_CATCH();
	{
		if (live && pc_engine_loaded())
			PC_CALL_VOID(ticket_cancel, ticket);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* Gives the library what the node shares; false: some is missing. */
static bool
offer_shared(const pc_session *session, pc_frame *frame, const uint8 *keys)
{
	bool		all = true;

	for (int i = 0; i < frame->n; i++)
	{
		int32		length;
		int64		left;
		int32		rc;
		char	   *bytes = pc_store_get(keys + i * PC_DECISION_KEY, session->epoch, &length, &left);

		if (bytes == NULL)
		{
			all = false;
			continue;
		}
		rc = PC_CALL(decide_offer, session, frame->sources[i], bytes, length, left);
		explicit_bzero(bytes, length);	/* mask keys */
		pfree(bytes);
		all = all && rc == PC_OK;
	}
	if (all)
		pg_atomic_fetch_add_u64(&pc_shm->decisions_shared, 1);
	return all;
}

/* asked_at: a decision's age counts from when it was asked for. */
static void
share(const pc_session *session, pc_frame *frame, const uint8 *keys, uint64 asked_at)
{
	for (int i = 0; i < frame->n; i++)
	{
		char	   *bytes = NULL;
		int32		length = 0;
		int64		max_age;

		if (PC_CALL(decide_encoded, session, frame->sources[i], &bytes, &length, &max_age) != PC_OK)
			continue;
		pc_store_put(keys + i * PC_DECISION_KEY, session->epoch, bytes, length, asked_at + max_age);
		explicit_bzero(bytes, length);
		PC_CALL_VOID(free, bytes);
	}
}

static void
ask_service(const pc_session *session, pc_frame *frame, pc_decision *out)
{
	pc_error	err = {0};
	uint64_t	ticket = 0;

	pg_atomic_fetch_add_u64(&pc_shm->decisions_asked, 1);
	if (PC_CALL(decide, session, (const char *const *) frame->sources, frame->n, &ticket, &err) != PC_OK)
		pc_throw(&err);
	await(ticket, out, frame->n);
}

/* Waits for who asks the same already, at most once; true: what it brought is all that is wanted. */
static bool
found_in_company(const pc_session *session, pc_frame *frame, const uint8 *keys)
{
	const uint8 *question = keys + frame->n * PC_DECISION_KEY;

	if (offer_shared(session, frame, keys))
		return true;
	if (pc_flight_join(question) == PC_FLIGHT_FOLLOWS)
	{
		pc_flight_wait(question);
		if (offer_shared(session, frame, keys))
			return true;
		(void) pc_flight_join(question);
	}
	/* Another one may have landed just before this one took off. */
	return offer_shared(session, frame, keys);
}

static pg_noinline void
share_or_ask(const pc_session *session, pc_frame *frame, const uint8 *keys, pc_decision *out)
{
	pc_error	err = {0};
	uint64_t	ticket = 0;
	uint64		asked_at;

	if (found_in_company(session, frame, keys) &&
		PC_CALL(decide_cached, session, (const char *const *) frame->sources, frame->n, &ticket, NULL, &err) == PC_OK)
	{
		await(ticket, out, frame->n);
		return;
	}
	PC_CALL_VOID(error_free, &err);
	asked_at = pc_clock_ms();
	ask_service(session, frame, out);
	share(session, frame, keys, asked_at);
}

static void
decide_in_company(const pc_session *session, pc_frame *frame, const uint8 *keys, pc_decision *out)
{
	PG_TRY();
	{
		share_or_ask(session, frame, keys, out);
	}
	PG_CATCH();
	{
		pc_flight_land();
		PG_RE_THROW();
	}
	PG_END_TRY();
	pc_flight_land();
}

void
pc_decide_together(const pc_session *session, pc_frame *frame, pc_decision *out)
{
	pc_error	err = {0};
	uint64_t	ticket = 0;
	uint8	   *keys = palloc((frame->n + 1) * PC_DECISION_KEY);
	int32		rc = PC_CALL(decide_cached, session, (const char *const *) frame->sources, frame->n, &ticket, keys, &err);

	if (rc == PC_OK)
		await(ticket, out, frame->n);
	else if (rc != PC_END)
		pc_throw(&err);
	else if (pc_store_size() == 0)
		ask_service(session, frame, out);
	else
		decide_in_company(session, frame, keys, out);
	pfree(keys);
	pg_atomic_fetch_add_u64(&pc_shm->decisions, 1);
}
