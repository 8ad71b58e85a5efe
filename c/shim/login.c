/*
 * login.c: the ClientAuthentication hook: a governed login is let in only
 * while its account is valid at the policy service.
 *
 * It runs in a transaction without a database.  The answer is read from
 * shared memory; on a miss the node daemon is asked through the main worker
 * and waited for, at most portcullis.login_check_timeout.
 */
#include "postgres.h"

#include "access/xact.h"
#include "libpq/auth.h"
#include "libpq/libpq-be.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/acl.h"

#include "compat.h"
#include "govern.h"
#include "loginrecord.h"
#include "seal.h"
#include "session.h"
#include "shmem.h"

#define ASKED_MS 30000			/* a question without an answer may be forgotten after that */

static ClientAuthentication_hook_type next_authentication = NULL;

typedef struct Verdict
{
	pc_account_state state;
	char		reason[PC_REASON_MAX];	/* second line: hint */
} Verdict;

/* The answer in shared memory; asks for one where there is none or it is too old. */
static void
look_up(const char *role, Verdict *verdict)
{
	uint64		now = pc_clock_ms();
	char		key[NAMEDATALEN] = {0};
	pc_account *account;
	bool		found;

	strlcpy(key, role, NAMEDATALEN);
	verdict->state = PC_ACCOUNT_ASKED;
	LWLockAcquire(pc_shm->lock, LW_EXCLUSIVE);
	account = hash_search(pc_shm_accounts, key, HASH_ENTER_NULL, &found);
	/* Without a lease nobody would tell that an account was disabled: it is asked for again. */
	if (account != NULL && (!found || account->expires <= now ||
							(account->state == PC_ACCOUNT_OK && pg_atomic_read_u64(&pc_shm->lease_end) <= now)))
	{
		account->state = PC_ACCOUNT_ASKED;
		account->wanted = true;
		account->expires = now + ASKED_MS;
		pc_shm->accounts_wanted = true;
	}
	if (account != NULL)
	{
		verdict->state = account->state;
		strlcpy(verdict->reason, account->reason, sizeof(verdict->reason));
	}
	LWLockRelease(pc_shm->lock);
	if (verdict->state == PC_ACCOUNT_ASKED)
		pc_wake_worker();
}

static void
wait_a_little(WaitEventSet *set, long timeout_ms)
{
	WaitEvent	events[3];
	int			n = WaitEventSetWait(set, timeout_ms, events, lengthof(events), PG_WAIT_EXTENSION);

	for (int i = 0; i < n; i++)
	{
		if (events[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		if (events[i].events & WL_SOCKET_CLOSED)
			proc_exit(0);
	}
	CHECK_FOR_INTERRUPTS();
}

static WaitEventSet *
login_events(Port *port)
{
	WaitEventSet *set = pc_create_wait_event_set(3);

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	if (WaitEventSetCanReportClosed())
		AddWaitEventToSet(set, WL_SOCKET_CLOSED, port->sock, NULL, NULL);
	return set;
}

/* The answer, or what stands in its way; true: no need to wait for more. */
static bool
settled(Port *port, Verdict *verdict)
{
	verdict->state = PC_ACCOUNT_ASKED;
	if (pc_config_unread())
		return false;
	if (!pc_configured())
		return true;
	look_up(port->user_name, verdict);
	return verdict->state != PC_ACCOUNT_ASKED;
}

static void
wait_for_verdict(Port *port, Verdict *verdict)
{
	uint64		until = pc_clock_ms() + pc_guc_login_timeout_ms;
	WaitEventSet *set;
	uint64		now;

	if (settled(port, verdict))
		return;
	pg_atomic_fetch_add_u64(&pc_shm->login_checks, 1);
	set = login_events(port);
	for (;;)
	{
		ConditionVariablePrepareToSleep(&pc_shm->accounts_changed);
		now = pc_clock_ms();
		if (settled(port, verdict) || now >= until)
			break;
		wait_a_little(set, (long) (until - now));
	}
	ConditionVariableCancelSleep();
	FreeWaitEventSet(set);
}

static void refuse(Port *port, const char *reason, const char *hint) __attribute__((noreturn));

static void
refuse(Port *port, const char *reason, const char *hint)
{
	if (pc_shm != NULL)
		pg_atomic_fetch_add_u64(&pc_shm->logins_refused, 1);
	pc_record_login(port, false, reason);
	ereport(FATAL,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("login of role \"%s\" refused: %s", port->user_name, reason),
			 hint != NULL && hint[0] != '\0' ? errhint("%s", hint) : 0));
	pg_unreachable();
}

static void
check_login(Port *port)
{
	Oid			role = get_role_oid(port->user_name, true);
	Verdict		verdict;
	char	   *danger;

	if (!OidIsValid(role) || !pc_role_governed(role))
		return;
	if ((danger = pc_role_danger(role)) != NULL)
		refuse(port, psprintf("a governed role may not hold so much. %s", danger),
			   "An administrator takes that from the role, or makes it a member of portcullis_exempt.");
	wait_for_verdict(port, &verdict);
	if (!pc_configured() && !pc_config_unread())
		refuse(port, "no policy service is configured on this server",
			   "An administrator calls immutasys.configure(), or makes the role a member of portcullis_exempt.");
	if (verdict.state == PC_ACCOUNT_ASKED)
		refuse(port, "the account could not be checked in time",
			   "Try again. An administrator finds the state of the policy service in immutasys.status().");
	if (verdict.state == PC_ACCOUNT_DENIED)
	{
		char	   *hint = strchr(verdict.reason, '\n');

		if (hint != NULL)
			*hint++ = '\0';
		refuse(port, verdict.reason, hint);
	}
	pc_record_login(port, true, NULL);
}

static void
authentication(Port *port, int status)
{
	if (next_authentication)
		next_authentication(port, status);
	pc_hide_from_others();
	if (status == STATUS_OK)
		check_login(port);
}

void
pc_login_init(void)
{
	next_authentication = ClientAuthentication_hook;
	ClientAuthentication_hook = authentication;
}
