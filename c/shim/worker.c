/*
 * worker.c: the main background worker.  It empties the ring of audit
 * records, watches the node daemon, speaks its lines, and has the
 * configuration read.  It is attached to no database.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "compat.h"
#include "portcullis.h"
#include "shmem.h"
#include "spoolfile.h"
#include "worker.h"

#define RETRY_SPOOL_MS	1000
#define DRAIN_MS		200		/* how long records of ending backends are waited for at a shutdown */
#define LONGEST_NAP_MS	10000

/* How long after records came the worker looks for completions by itself. */
#define COMPLETION_NAP_MS 50

static WaitEventSet *events = NULL;
static int	events_socket = -2;

void
pc_worker_register(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	strlcpy(worker.bgw_name, "portcullis", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "portcullis", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "portcullis", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "pc_worker_main", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_PostmasterStart;
	worker.bgw_restart_time = 1;
	RegisterBackgroundWorker(&worker);
}

/* The end of the daemon is noticed by its socket too; this only makes it sooner. */
static void
child_ended(SIGNAL_ARGS)
{
	int			save_errno = errno;

	(void) postgres_signal_arg;
	SetLatch(MyLatch);
	errno = save_errno;
}

static void
announce(pid_t pid, Latch *latch)
{
	LWLockAcquire(pc_shm->lock, LW_EXCLUSIVE);
	pc_shm->worker_pid = pid;
	pc_shm->worker_latch = latch;
	LWLockRelease(pc_shm->lock);
}

static void
withdraw(int code, Datum arg)
{
	(void) code;
	(void) arg;
	announce(0, NULL);
	pc_daemon_stop();
	pc_segment_close();
}

/* One set for all waits; made anew when the daemon's socket changes. */
static WaitEventSet *
event_set(bool want_write)
{
	int			socket = pc_daemon_socket();

	if (events == NULL || events_socket != socket)
	{
		if (events != NULL)
			FreeWaitEventSet(events);
		events = pc_create_wait_event_set(3);
		AddWaitEventToSet(events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
		if (socket >= 0)
			AddWaitEventToSet(events, WL_SOCKET_READABLE, socket, NULL, NULL);
		events_socket = socket;
	}
	if (socket >= 0)
		ModifyWaitEvent(events, 2, WL_SOCKET_READABLE | (want_write ? WL_SOCKET_WRITEABLE : 0), NULL);
	return events;
}

static void
wait_for_work(long timeout_ms)
{
	WaitEvent	happened[3];
	int			n;

	if (timeout_ms > COMPLETION_NAP_MS)
	{
		pg_atomic_write_u32(&pc_shm->worker_rests, 1);
		pg_memory_barrier();
		if (pc_spoolfile_pending())
			timeout_ms = 0;
	}
	n = WaitEventSetWait(event_set(pc_control_pending()), timeout_ms, happened, 3, PG_WAIT_EXTENSION);
	pg_atomic_write_u32(&pc_shm->worker_rests, 0);

	for (int i = 0; i < n; i++)
	{
		if (happened[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		if (happened[i].events & WL_SOCKET_READABLE)
			pc_control_readable();
	}
}

/* The end: records of backends that end at the same time are still taken. */
static void
finish(void)
{
	uint64		until = pc_clock_ms() + DRAIN_MS;

	while (pc_spoolfile_flush() && pc_clock_ms() < until)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, DRAIN_MS / 4, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	/* 1, for a worker that ends with 0 is never started again. */
	proc_exit(1);
}

void
pc_worker_main(Datum arg)
{
	MemoryContext loop_context;

	(void) arg;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGCHLD, child_ended);
	BackgroundWorkerUnblockSignals();
	before_shmem_exit(withdraw, (Datum) 0);
	loop_context = AllocSetContextCreate(TopMemoryContext, "portcullis worker", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(loop_context);
	/* Hashing contexts belong to a resource owner, which a worker without a database lacks. */
	CurrentResourceOwner = ResourceOwnerCreate(NULL, "portcullis worker");

	pc_spoolfile_recover();
	announce(MyProcPid, &MyProc->procLatch);
	for (;;)
	{
		uint64		nap = LONGEST_NAP_MS;
		bool		came = pc_spoolfile_pending();

		MemoryContextReset(loop_context);
		if (ShutdownRequestPending)
			finish();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			pc_control_shorten_lease();
		}
		if (!pc_spoolfile_flush())
			nap = RETRY_SPOOL_MS;
		else if (came)
			nap = COMPLETION_NAP_MS;
		nap = Min(nap, pc_daemon_tend());
		nap = Min(nap, pc_config_tend());
		pc_control_send();
		wait_for_work((long) nap);
	}
}
