/*
 * running.c: how many statements of a person read a source at once, over all
 * sessions of the instance.
 *
 * A statement is counted from its decision until its executor's state goes,
 * once a source.  What a process still holds when it exits is given back then.
 */
#include "postgres.h"

#include "storage/ipc.h"
#include "utils/memutils.h"

#include "govern.h"
#include "loader.h"
#include "shmem.h"

/* One entry for each time that this process is counted. */
static uint64 *held = NULL;
static int	nheld = 0;
static int	held_room = 0;

/* The caller holds the lock. */
static void
give_back(uint64 key)
{
	pc_running *entry = hash_search(pc_shm_running, &key, HASH_FIND, NULL);

	if (entry != NULL && --entry->count <= 0)
		hash_search(pc_shm_running, &key, HASH_REMOVE, NULL);
}

static void
give_all_back(int code, Datum arg)
{
	(void) code;
	(void) arg;
	if (nheld == 0)
		return;
	LWLockAcquire(pc_shm->running_lock, LW_EXCLUSIVE);
	while (nheld > 0)
		give_back(held[--nheld]);
	LWLockRelease(pc_shm->running_lock);
}

static void
reserve(int n)
{
	if (held == NULL)
	{
		held_room = Max(16, n);
		held = MemoryContextAlloc(TopMemoryContext, held_room * sizeof(uint64));
		on_shmem_exit(give_all_back, (Datum) 0);
	}
	else if (nheld + n > held_room)
	{
		held = repalloc(held, (2 * held_room + n) * sizeof(uint64));
		held_room = 2 * held_room + n;
	}
}

static int
find(const uint64 *keys, int n, uint64 key)
{
	for (int i = 0; i < n; i++)
		if (keys[i] == key)
			return i;
	return -1;
}

/* Counts the statement under one key; false: its limit is reached, or there is no room. */
static bool
count(pc_frame *frame, const pc_decision *decision)
{
	bool		found;
	pc_running *entry;

	if (decision->max_statements == 0 || find(frame->running, frame->nrunning, decision->limit_key) >= 0)
		return true;
	entry = hash_search(pc_shm_running, &decision->limit_key, HASH_FIND, NULL);
	if (entry != NULL && entry->count >= decision->max_statements)
		return false;
	entry = hash_search(pc_shm_running, &decision->limit_key, HASH_ENTER_NULL, &found);
	if (entry == NULL)
		return false;
	if (!found)
		entry->count = 0;
	entry->count++;
	frame->running[frame->nrunning++] = decision->limit_key;
	held[nheld++] = decision->limit_key;
	return true;
}

static bool
limited(const pc_frame *frame)
{
	for (int i = 0; i < frame->n; i++)
		if (frame->decisions[i].max_statements != 0)
			return true;
	return false;
}

void
pc_running_enter(pc_frame *frame)
{
	int			refused = -1;
	pc_error	err = {0};

	if (!limited(frame))
		return;
	reserve(frame->n);
	frame->running = MemoryContextAlloc(frame->context, frame->n * sizeof(uint64));
	LWLockAcquire(pc_shm->running_lock, LW_EXCLUSIVE);
	for (int i = 0; i < frame->n && refused < 0; i++)
		if (!count(frame, &frame->decisions[i]))
			refused = i;
	LWLockRelease(pc_shm->running_lock);
	if (refused < 0)
		return;
	pc_running_leave(frame);
	(void) PC_CALL(too_many, frame->decisions[refused].id, &err);
	pc_throw(&err);
}

void
pc_running_leave(pc_frame *frame)
{
	if (frame->nrunning == 0)
		return;
	LWLockAcquire(pc_shm->running_lock, LW_EXCLUSIVE);
	while (frame->nrunning > 0)
	{
		uint64		key = frame->running[--frame->nrunning];
		int			i = find(held, nheld, key);

		if (i < 0)
			continue;			/* the process exits and has given all back */
		held[i] = held[--nheld];
		give_back(key);
	}
	LWLockRelease(pc_shm->running_lock);
}
