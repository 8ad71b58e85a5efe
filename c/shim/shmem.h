/*
 * shmem.h: what all processes of the instance share: token, epoch, lease,
 * checked accounts, status, and the ring of audit records.
 *
 * Who writes: backends append to the ring and ask for accounts, the config
 * reader writes the configuration, everything else is the main worker's.
 */
#ifndef PORTCULLIS_SHMEM_H
#define PORTCULLIS_SHMEM_H

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/hsearch.h"

#include "decisionstore.h"

#define PC_URL_MAX			1024
#define PC_API_KEY_MAX		8192	/* sealed */
#define PC_NODE_MAX			256
#define PC_TOKEN_MAX		4096
#define PC_REASON_MAX		1024	/* reason and hint of a login check */
#define PC_ERROR_MAX		512
#define PC_ACCOUNTS_MAX		4096	/* logins remembered */
#define PC_STATUS_MAX		48		/* keys that the daemon may report */
#define PC_STATUS_KEY_MAX	64
#define PC_STATUS_VALUE_MAX	512
#define PC_RUNNING_MAX		8192	/* pairs of person and source with statements that are counted */
#define PC_FLIGHTS			128		/* questions to the service that others may wait for */
#define PC_QUOTA_SLOTS		4096	/* roles sharing a slot share a quota */

/* What is known of the configuration. */
typedef enum pc_config_state
{
	PC_CONFIG_UNREAD = 0,		/* the config reader has not succeeded yet */
	PC_CONFIG_NONE,				/* no extension, or no service URL in it */
	PC_CONFIG_SET
} pc_config_state;

typedef enum pc_account_state
{
	PC_ACCOUNT_ASKED = 0,
	PC_ACCOUNT_OK,
	PC_ACCOUNT_DENIED
} pc_account_state;

/* The last login check of a role. */
typedef struct pc_account
{
	char		role[NAMEDATALEN];	/* hash key */
	pc_account_state state;
	bool		wanted;			/* the worker is to ask for it */
	uint64		expires;		/* pc_clock_ms; of ASKED: when it may be forgotten */
	char		reason[PC_REASON_MAX];	/* second line: hint */
} pc_account;

/* Statements of a person that read a source now, where their number is limited. */
typedef struct pc_running
{
	uint64		key;			/* hash key: pc_decision.limit_key */
	int32		count;
} pc_running;

typedef struct pc_status
{
	char		key[PC_STATUS_KEY_MAX];
	char		value[PC_STATUS_VALUE_MAX];
} pc_status;

/* Alone on its pages, which are left out of core dumps. */
typedef struct pc_secrets
{
	char		token[PC_TOKEN_MAX];	/* empty: none */
	char		api_key[PC_API_KEY_MAX];	/* sealed */
} pc_secrets;

typedef struct pc_shared
{
	pg_atomic_uint64 policy_version;	/* as the daemon told it */
	pg_atomic_uint64 flushes;	/* of all caches */
	pg_atomic_uint64 lease_end; /* pc_clock_ms; 0: the service was never heard */
	pg_atomic_uint32 config_state;	/* pc_config_state */

	LWLock	   *lock;			/* guards what follows up to the ring, and pc_secrets */
	uint64		config_generation;	/* grows when url, node or the key change */
	char		url[PC_URL_MAX];
	char		node[PC_NODE_MAX];
	char		config_error[PC_ERROR_MAX];
	uint64		token_expires;	/* pc_clock_ms */
	uint64		token_received;
	pid_t		worker_pid;
	Latch	   *worker_latch;
	pg_atomic_uint32 worker_rests;	/* it sleeps for long: even a completion wakes it */
	pid_t		daemon_pid;
	uint64		daemon_starts;
	char		daemon_error[PC_ERROR_MAX];
	int			nstatus;
	pc_status	status[PC_STATUS_MAX];
	bool		config_wanted;	/* somebody wants the configuration to be read again */
	bool		accounts_wanted;	/* some account is to be asked for */
	ConditionVariable accounts_changed; /* or the configuration */

	pg_atomic_uint64 decisions; /* counters */
	pg_atomic_uint64 denials;
	pg_atomic_uint64 login_checks;
	pg_atomic_uint64 logins_refused;
	pg_atomic_uint64 completions_lost;
	pg_atomic_uint64 refused_logins_lost;

	/* The ring: positions count bytes since the instance's start. */
	LWLock	   *ring_lock;
	uint64		ring_size;
	uint64		ring_head;		/* guarded by ring_lock */
	pg_atomic_uint64 ring_synced;	/* durable up to here, and free for reuse */
	ConditionVariable ring_moved;
	pg_atomic_uint32 spool_failed;	/* errno, 0: it can be written */
	char		spool_error[PC_ERROR_MAX];	/* guarded by ring_lock */
	pg_atomic_uint64 spool_bytes;	/* on disk, not yet removed */
	pg_atomic_uint64 spool_segment; /* being written, and up to where it is synced */
	pg_atomic_uint64 spool_offset;
	pg_atomic_uint64 spool_seq;
	pg_atomic_uint64 shipped_segment;
	pg_atomic_uint64 shipped_offset;
	pg_atomic_uint64 quota[PC_QUOTA_SLOTS]; /* unshipped bytes by role */

	LWLock	   *running_lock;	/* guards pc_shm_running */

	LWLock	   *decision_lock;	/* guards the store of decisions and the flights */
	pc_flight	flights[PC_FLIGHTS];
	ConditionVariable flights_landed;
	pg_atomic_uint64 decisions_asked;	/* of the service */
	pg_atomic_uint64 decisions_shared;	/* by other sessions, all of a statement */
} pc_shared;

extern pc_shared *pc_shm;		/* NULL unless preloaded */
extern pc_secrets *pc_shm_secrets;
extern HTAB *pc_shm_accounts;	/* guarded by pc_shm->lock */
extern char *pc_shm_ring;
extern HTAB *pc_shm_running;	/* guarded by pc_shm->running_lock */

/* Milliseconds of a clock that all processes share, that never jumps and counts through suspension. */
extern uint64 pc_clock_ms(void);

/* What cached decisions are compared with: changes with each policy version and each flush. */
extern uint64 pc_epoch(void);

/* Wakes the main worker, where there is one. */
extern void pc_wake_worker(void);

/* Has a policy service been configured? */
extern bool pc_configured(void);

/* For a moment after the start it is not known yet. */
extern bool pc_config_unread(void);

/* ---- spool.c: records on their way to the disk ---- */

/* A record: its length, whose it is, then the text; starts at multiples of 8. */
typedef struct pc_ring_record
{
	uint32		length;
	Oid			role;
} pc_ring_record;

#define PC_RING_SPACE(len)	(sizeof(pc_ring_record) + TYPEALIGN(8, (len)))

/*
 * Puts one line of JSON into the ring; answers the position to wait for.
 * Waits for room.  Raises 58030 where the spool cannot be written, 53100
 * where it or its disk is full, 53400 where the role has used up its quota.
 */
extern uint64 pc_spool_append(const char *record, Oid role);

/* The same without waiting, raising or asking for the quota; false: there was no room. */
extern bool pc_spool_append_nowait(const char *record, Oid role);

/* The same without waiting or raising; false: there was no room, or a limit is reached. */
extern bool pc_spool_append_within_limits(const char *record, Oid role);

/* Waits until everything up to the position is on disk; raises 58030 or 53100 where that fails. */
extern void pc_spool_wait(uint64 position);

extern void pc_ring_read(uint64 position, void *to, size_t length);
extern pg_atomic_uint64 *pc_quota_of(Oid role);

#endif
