/*
 * shmem.c: shared memory of the module: its request, its start, the clock.
 */
#include "postgres.h"

#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "portcullis.h"
#include "shmem.h"
#include "worker.h"

pc_shared  *pc_shm = NULL;
pc_secrets *pc_shm_secrets = NULL;
HTAB	   *pc_shm_accounts = NULL;
char	   *pc_shm_ring = NULL;
HTAB	   *pc_shm_running = NULL;

static shmem_request_hook_type prev_shmem_request = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;

static void
request_shmem(void)
{
	if (prev_shmem_request)
		prev_shmem_request();
	RequestAddinShmemSpace(sizeof(pc_shared));
	RequestAddinShmemSpace(sizeof(pc_secrets) + 2 * sysconf(_SC_PAGESIZE));
	RequestAddinShmemSpace(hash_estimate_size(PC_ACCOUNTS_MAX, sizeof(pc_account)));
	RequestAddinShmemSpace((Size) pc_guc_audit_ring_kb * 1024);
	RequestAddinShmemSpace(hash_estimate_size(PC_RUNNING_MAX, sizeof(pc_running)));
	if (pc_store_size() > 0)
		RequestAddinShmemSpace(pc_store_size() + 2 * sysconf(_SC_PAGESIZE));
	RequestNamedLWLockTranche("portcullis", 4);
}

static void
init_shared(void)
{
	LWLockPadded *locks = GetNamedLWLockTranche("portcullis");

	memset(pc_shm, 0, sizeof(pc_shared));
	pg_atomic_init_u32(&pc_shm->worker_rests, 1);
	pg_atomic_init_u64(&pc_shm->policy_version, 0);
	pg_atomic_init_u64(&pc_shm->flushes, 0);
	pg_atomic_init_u64(&pc_shm->lease_end, 0);
	pg_atomic_init_u32(&pc_shm->config_state, PC_CONFIG_UNREAD);
	pc_shm->lock = &locks[0].lock;
	pc_shm->ring_lock = &locks[1].lock;
	pc_shm->running_lock = &locks[2].lock;
	pc_shm->decision_lock = &locks[3].lock;
	ConditionVariableInit(&pc_shm->flights_landed);
	pg_atomic_init_u64(&pc_shm->decisions_asked, 0);
	pg_atomic_init_u64(&pc_shm->decisions_shared, 0);
	ConditionVariableInit(&pc_shm->accounts_changed);
	pg_atomic_init_u64(&pc_shm->decisions, 0);
	pg_atomic_init_u64(&pc_shm->denials, 0);
	pg_atomic_init_u64(&pc_shm->login_checks, 0);
	pg_atomic_init_u64(&pc_shm->logins_refused, 0);
	pg_atomic_init_u64(&pc_shm->completions_lost, 0);
	pg_atomic_init_u64(&pc_shm->refused_logins_lost, 0);
	pc_shm->ring_size = (uint64) pc_guc_audit_ring_kb * 1024;
	pg_atomic_init_u64(&pc_shm->ring_synced, 0);
	ConditionVariableInit(&pc_shm->ring_moved);
	pg_atomic_init_u32(&pc_shm->spool_failed, 0);
	pg_atomic_init_u64(&pc_shm->spool_bytes, 0);
	pg_atomic_init_u64(&pc_shm->spool_segment, 0);
	pg_atomic_init_u64(&pc_shm->spool_offset, 0);
	pg_atomic_init_u64(&pc_shm->spool_seq, 0);
	pg_atomic_init_u64(&pc_shm->shipped_segment, 0);
	pg_atomic_init_u64(&pc_shm->shipped_offset, 0);
	for (int i = 0; i < PC_QUOTA_SLOTS; i++)
		pg_atomic_init_u64(&pc_shm->quota[i], 0);
}

/* Secrets stand on pages of their own; children inherit the advice. */
static char *
place_undumped(const char *name, Size wanted, bool *found)
{
	Size		page = sysconf(_SC_PAGESIZE);
	Size		size = TYPEALIGN(page, wanted);
	char	   *area = (char *) TYPEALIGN(page, ShmemInitStruct(name, size + page, found));

	if (!IsUnderPostmaster && madvise(area, size, MADV_DONTDUMP) != 0)
		ereport(LOG,
				(errmsg("portcullis could not keep its secrets out of core dumps: %m"),
				 errhint("With huge pages this is not possible: switch core dumps off.")));
	return area;
}

static void
place_secrets(void)
{
	bool		found;

	pc_shm_secrets = (pc_secrets *) place_undumped("portcullis secrets", sizeof(pc_secrets), &found);
	if (!found)
		memset(pc_shm_secrets, 0, sizeof(pc_secrets));
	if (pc_store_size() > 0)
	{
		char	   *area = place_undumped("portcullis decisions", pc_store_size(), &found);

		pc_store_place(area, !found);
	}
}

static void
startup_shmem(void)
{
	HASHCTL		ctl;
	bool		found;

	if (prev_shmem_startup)
		prev_shmem_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	pc_shm = ShmemInitStruct("portcullis", sizeof(pc_shared), &found);
	if (!found)
		init_shared();
	pc_shm_ring = ShmemInitStruct("portcullis audit ring", (Size) pc_guc_audit_ring_kb * 1024, &found);
	place_secrets();
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = NAMEDATALEN;
	ctl.entrysize = sizeof(pc_account);
	pc_shm_accounts = ShmemInitHash("portcullis accounts", PC_ACCOUNTS_MAX, PC_ACCOUNTS_MAX,
									&ctl, HASH_ELEM | HASH_STRINGS | HASH_FIXED_SIZE);
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(uint64);
	ctl.entrysize = sizeof(pc_running);
	pc_shm_running = ShmemInitHash("portcullis running statements", PC_RUNNING_MAX, PC_RUNNING_MAX,
								   &ctl, HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	LWLockRelease(AddinShmemInitLock);
}

void
pc_shmem_init(void)
{
	prev_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shmem;
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = startup_shmem;
	pc_worker_register();
}

uint64
pc_clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

uint64
pc_epoch(void)
{
	return pg_atomic_read_u64(&pc_shm->policy_version) ^ pg_atomic_read_u64(&pc_shm->flushes) << 48;
}

void
pc_wake_worker(void)
{
	Latch	   *latch;

	/* A stale pointer wakes some other process for nothing, which is harmless. */
	if (pc_shm != NULL && (latch = *(Latch *volatile *) &pc_shm->worker_latch) != NULL)
		SetLatch(latch);
}

bool
pc_configured(void)
{
	return pc_shm != NULL && pg_atomic_read_u32(&pc_shm->config_state) == PC_CONFIG_SET;
}

bool
pc_config_unread(void)
{
	return pc_shm != NULL && pg_atomic_read_u32(&pc_shm->config_state) == PC_CONFIG_UNREAD;
}
