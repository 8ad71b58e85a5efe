/*
 * progress.c: waiting for the library: for its eventfd, this backend's
 * latch, the client's socket and the postmaster, all in one wait.
 */
#include "postgres.h"

#include <poll.h>
#include <unistd.h>

#include "compat.h"
#include "libpq/libpq-be.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/wait_event.h"

#include "loader.h"

static WaitEventSet *wait_set = NULL;
static int	progress_fd = -1;

extern void pc_progress_init(int event_fd);

static void drain(void);
static void client_is_gone(void);

void
pc_progress_init(int event_fd)
{
	progress_fd = event_fd;
	wait_set = pc_create_wait_event_set(4);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	if (IsUnderPostmaster)
		AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, event_fd, NULL, NULL);
	if (MyProcPort != NULL && MyProcPort->sock != PGINVALID_SOCKET && WaitEventSetCanReportClosed())
		AddWaitEventToSet(wait_set, WL_SOCKET_CLOSED, MyProcPort->sock, NULL, NULL);
}

bool
pc_wait_progress(long timeout_ms, uint32 wait_event)
{
	instr_time	began;
	long		left = timeout_ms;

	if (wait_set == NULL)
		elog(ERROR, "pc_wait_progress called before the library was started");
	if (timeout_ms >= 0)
		INSTR_TIME_SET_CURRENT(began);

	for (;;)
	{
		WaitEvent	events[4];
		bool		progress = false;
		int			n;

		CHECK_FOR_INTERRUPTS();
		n = WaitEventSetWait(wait_set, left, events, lengthof(events), wait_event);
		for (int i = 0; i < n; i++)
		{
			if (events[i].events & WL_LATCH_SET)
				ResetLatch(MyLatch);
			if (events[i].events & WL_SOCKET_READABLE)
			{
				drain();
				progress = true;
			}
			if (events[i].events & WL_SOCKET_CLOSED)
				client_is_gone();
		}
		CHECK_FOR_INTERRUPTS();
		if (progress)
			return true;
		if (timeout_ms >= 0)
		{
			instr_time	now;

			INSTR_TIME_SET_CURRENT(now);
			INSTR_TIME_SUBTRACT(now, began);
			left = timeout_ms - (long) INSTR_TIME_GET_MILLISEC(now);
			if (left <= 0)
				return false;
		}
	}
}

void
pc_check_client(void)
{
	struct pollfd p;

	CHECK_FOR_INTERRUPTS();
	if (MyProcPort == NULL || MyProcPort->sock == PGINVALID_SOCKET)
		return;
	p.fd = MyProcPort->sock;
	p.events = POLLRDHUP;
	p.revents = 0;
	if (poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)))
	{
		client_is_gone();
		CHECK_FOR_INTERRUPTS();
	}
}

/* A wait for other processes looks so often for a client that went away. */
#define CLIENT_CHECK_MS	100

bool
pc_sleep(ConditionVariable *condition, long timeout_ms)
{
	for (long left = timeout_ms; left > 0; left -= CLIENT_CHECK_MS)
	{
		if (!ConditionVariableTimedSleep(condition, Min(left, CLIENT_CHECK_MS), PG_WAIT_EXTENSION))
			return false;
		pc_check_client();
	}
	return true;
}

/* Nobody reads the answer: let ProcessInterrupts end the session (FATAL 08006). */
static void
client_is_gone(void)
{
	ClientConnectionLost = true;
	InterruptPending = true;
}

static void
drain(void)
{
	uint64		count;

	if (read(progress_fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
		elog(ERROR, "could not read the library's event counter: %m");
}
