/*
 * spool.c: the way of an audit record from a backend into the ring, and the
 * wait until it is durable.  The main worker empties the ring (spoolfile.c).
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"

#include "portcullis.h"
#include "shmem.h"

/* How long a backend waits for a worker that is not there, in ms. */
#define WORKER_PATIENCE 5000

static void refuse_unwritable(void) __attribute__((noreturn));

static void
refuse_unwritable(void)
{
	char		why[PC_ERROR_MAX];
	uint32		error = pg_atomic_read_u32(&pc_shm->spool_failed);

	LWLockAcquire(pc_shm->ring_lock, LW_SHARED);
	strlcpy(why, pc_shm->spool_error, sizeof(why));
	LWLockRelease(pc_shm->ring_lock);
	if (error == ENOSPC || error == EDQUOT)
		ereport(ERROR,
				(errcode(ERRCODE_DISK_FULL),
				 errmsg("the audit record could not be stored"),
				 errdetail("There is no space left for the audit spool of this server."),
				 errdetail_log("%s", why),
				 errhint("An administrator makes room, or makes the policy service reachable, which takes the records away.")));
	ereport(ERROR,
			(errcode(ERRCODE_IO_ERROR),
			 errmsg("the audit record could not be stored"),
			 errdetail_log("%s", why),
			 errhint("The audit spool of this server cannot be written. An administrator finds the cause in the server's log and in immutasys.status().")));
}

static void
refuse_without_worker(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_CANNOT_CONNECT_NOW),
			 errmsg("the audit record could not be stored"),
			 errdetail("The portcullis background worker is not running."),
			 errhint("It is restarted within seconds: try again. An administrator finds the cause in the server's log.")));
}

/* What stands in the way of a further record. */
typedef enum Obstacle
{
	NO_OBSTACLE,
	SPOOL_UNWRITABLE,
	SPOOL_FULL,
	QUOTA_USED_UP
} Obstacle;

/* A few records in flight may go over the limits: they bound, they do not measure. */
static Obstacle
obstacle(Oid role, uint64 space)
{
	if (pg_atomic_read_u32(&pc_shm->spool_failed) != 0)
		return SPOOL_UNWRITABLE;
	if (pg_atomic_read_u64(&pc_shm->spool_bytes) >= (uint64) pc_guc_audit_spool_mb * 1024 * 1024)
		return SPOOL_FULL;
	if (pc_guc_audit_quota_mb > 0 &&
		pg_atomic_read_u64(pc_quota_of(role)) + space > (uint64) pc_guc_audit_quota_mb * 1024 * 1024)
		return QUOTA_USED_UP;
	return NO_OBSTACLE;
}

static void
check_limits(Oid role, uint64 space)
{
	switch (obstacle(role, space))
	{
		case NO_OBSTACLE:
			return;
		case SPOOL_UNWRITABLE:
			refuse_unwritable();
			break;
		case SPOOL_FULL:
			ereport(ERROR,
					(errcode(ERRCODE_DISK_FULL),
					 errmsg("the audit spool of this server is full"),
					 errdetail("It holds %d MB that the policy service has not taken yet.", pc_guc_audit_spool_mb),
					 errhint("An administrator makes the policy service reachable again, or raises portcullis.audit_spool_limit.")));
			break;
		case QUOTA_USED_UP:
			ereport(ERROR,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("your audit records wait to be taken by the policy service"),
					 errdetail("More than %d MB of them wait.", pc_guc_audit_quota_mb),
					 errhint("Try again later. An administrator may raise portcullis.audit_quota.")));
	}
}

pg_atomic_uint64 *
pc_quota_of(Oid role)
{
	return &pc_shm->quota[murmurhash32((uint32) role) % PC_QUOTA_SLOTS];
}

static void
ring_write(uint64 position, const void *from, size_t length)
{
	uint64		at = position % pc_shm->ring_size;
	size_t		first = Min(length, pc_shm->ring_size - at);

	memcpy(pc_shm_ring + at, from, first);
	memcpy(pc_shm_ring, (const char *) from + first, length - first);
}

void
pc_ring_read(uint64 position, void *to, size_t length)
{
	uint64		at = position % pc_shm->ring_size;
	size_t		first = Min(length, pc_shm->ring_size - at);

	memcpy(to, pc_shm_ring + at, first);
	memcpy((char *) to + first, pc_shm_ring, length - first);
}

/* Position after the record, 0 where there is no room now. */
static uint64
try_append(const char *record, uint32 length, Oid role)
{
	pc_ring_record header = {length, role};
	uint64		space = PC_RING_SPACE(length);
	uint64		end = 0;

	LWLockAcquire(pc_shm->ring_lock, LW_EXCLUSIVE);
	if (pc_shm->ring_head + space - pg_atomic_read_u64(&pc_shm->ring_synced) <= pc_shm->ring_size)
	{
		ring_write(pc_shm->ring_head, &header, sizeof(header));
		ring_write(pc_shm->ring_head + sizeof(header), record, length);
		end = pc_shm->ring_head += space;
		pg_atomic_fetch_add_u64(pc_quota_of(role), space);
	}
	LWLockRelease(pc_shm->ring_lock);
	return end;
}

/* Sleeps until the worker has moved on; raises where it is gone for long or the spool fails. */
static void
sleep_for_worker(uint64 *waited_since)
{
	if (pg_atomic_read_u32(&pc_shm->spool_failed) != 0)
		refuse_unwritable();
	if (*waited_since == 0)
		*waited_since = pc_clock_ms();
	pc_wake_worker();
	if (pc_sleep(&pc_shm->ring_moved, 1000) &&
		pc_shm->worker_pid == 0 && pc_clock_ms() - *waited_since > WORKER_PATIENCE)
		refuse_without_worker();
}

uint64
pc_spool_append(const char *record, Oid role)
{
	size_t		length = strlen(record);
	uint64		since = 0;
	uint64		end;

	if (PC_RING_SPACE(length) > pc_shm->ring_size)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the audit record is too long"),
				 errdetail("It has %zu bytes.", length),
				 errhint("An administrator raises portcullis.audit_ring.")));
	check_limits(role, PC_RING_SPACE(length));
	while ((end = try_append(record, (uint32) length, role)) == 0)
		sleep_for_worker(&since);
	ConditionVariableCancelSleep();
	pc_wake_worker();
	return end;
}

bool
pc_spool_append_within_limits(const char *record, Oid role)
{
	return obstacle(role, PC_RING_SPACE(strlen(record))) == NO_OBSTACLE && pc_spool_append_nowait(record, role);
}

bool
pc_spool_append_nowait(const char *record, Oid role)
{
	size_t		length = strlen(record);

	if (PC_RING_SPACE(length) > pc_shm->ring_size || try_append(record, (uint32) length, role) == 0)
		return false;

	/*
	 * Nobody waits for this record: a worker that looks again soon anyway is
	 * left alone, so that the next statement's intent need not wait for this
	 * sync.  It says that it rests, then looks at the ring once more
	 * (worker.c); here it is the other way round, so one of both sees the other.
	 */
	pg_memory_barrier();
	if (pg_atomic_read_u32(&pc_shm->worker_rests) != 0)
		pc_wake_worker();
	return true;
}

void
pc_spool_wait(uint64 position)
{
	uint64		since = 0;

	if (pg_atomic_read_u64(&pc_shm->ring_synced) >= position)
		return;
	ConditionVariablePrepareToSleep(&pc_shm->ring_moved);
	while (pg_atomic_read_u64(&pc_shm->ring_synced) < position)
		sleep_for_worker(&since);
	ConditionVariableCancelSleep();
}
