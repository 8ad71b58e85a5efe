/*
 * flights.c: of sessions that ask the same at the same time, one asks the
 * service.  The others wait for what it brings, never for long: should it
 * hang, each asks for itself.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"

#include "portcullis.h"
#include "decisionstore.h"
#include "shmem.h"

/* Longer than an answer takes, shorter than anybody notices. */
#define PATIENCE_MS		1000

/* What is older is no leader: a call to the service ends sooner. */
#define LONGEST_MS		15000

static bool flying = false;

static pc_flight *
find(const uint8 *key)
{
	for (int i = 0; i < PC_FLIGHTS; i++)
		if (pc_shm->flights[i].pid != 0 && memcmp(pc_shm->flights[i].key, key, PC_DECISION_KEY) == 0)
			return &pc_shm->flights[i];
	return NULL;
}

static pc_flight *
free_slot(uint64 now)
{
	for (int i = 0; i < PC_FLIGHTS; i++)
		if (pc_shm->flights[i].pid == 0 || pc_shm->flights[i].since + LONGEST_MS <= now)
			return &pc_shm->flights[i];
	return NULL;
}

static void
land_at_exit(int code, Datum arg)
{
	(void) code;
	(void) arg;
	pc_flight_land();
}

pc_flight_role
pc_flight_join(const uint8 *key)
{
	static bool registered = false;
	uint64		now = pc_clock_ms();
	pc_flight_role role = PC_FLIGHT_ALONE;
	pc_flight  *flight;

	if (!registered)
	{
		on_shmem_exit(land_at_exit, (Datum) 0);
		registered = true;
	}
	LWLockAcquire(pc_shm->decision_lock, LW_EXCLUSIVE);
	flight = find(key);
	if (flight != NULL && flight->since + PATIENCE_MS > now)
		role = PC_FLIGHT_FOLLOWS;
	else if (flight != NULL || (flight = free_slot(now)) != NULL)
	{
		memcpy(flight->key, key, PC_DECISION_KEY);
		flight->pid = MyProcPid;
		flight->since = now;
		flying = true;
		role = PC_FLIGHT_LEADS;
	}
	LWLockRelease(pc_shm->decision_lock);
	return role;
}

static bool
flies(const uint8 *key)
{
	bool		found;

	LWLockAcquire(pc_shm->decision_lock, LW_SHARED);
	found = find(key) != NULL;
	LWLockRelease(pc_shm->decision_lock);
	return found;
}

void
pc_flight_wait(const uint8 *key)
{
	uint64		deadline = pc_clock_ms() + PATIENCE_MS;

	ConditionVariablePrepareToSleep(&pc_shm->flights_landed);
	while (flies(key))
	{
		uint64		now = pc_clock_ms();

		if (now >= deadline || pc_sleep(&pc_shm->flights_landed, (long) (deadline - now)))
			break;
	}
	ConditionVariableCancelSleep();
}

void
pc_flight_land(void)
{
	if (!flying)
		return;
	flying = false;
	LWLockAcquire(pc_shm->decision_lock, LW_EXCLUSIVE);
	for (int i = 0; i < PC_FLIGHTS; i++)
		if (pc_shm->flights[i].pid == MyProcPid)
			memset(&pc_shm->flights[i], 0, sizeof(pc_flight));
	LWLockRelease(pc_shm->decision_lock);
	ConditionVariableBroadcast(&pc_shm->flights_landed);
}
