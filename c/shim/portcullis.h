/*
 * portcullis.h: what the files of the shim share.
 */
#ifndef PORTCULLIS_H
#define PORTCULLIS_H

#include "postgres.h"
#include "fmgr.h"
#include "executor/execdesc.h"
#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/relcache.h"

#include "../../engine/engine.h"

/* ---- portcullis.c: GUCs (each documented in docs/configuration.md) ---- */
extern bool pc_preloaded;		/* loaded by shared_preload_libraries */
extern char *pc_guc_database;	/* portcullis.database, default immuta */
extern char *pc_guc_key_file;	/* portcullis.key_file */
extern char *pc_guc_ca_file;	/* portcullis.service_ca_file */
extern char *pc_guc_file_folder;	/* portcullis.file_folder */
extern char *pc_guc_allowed_hosts;	/* portcullis.allowed_hosts */
extern char *pc_guc_node_name;	/* portcullis.node_name */
extern int	pc_guc_block_size_kb;	/* portcullis.block_size */
extern int	pc_guc_idle_timeout_s;	/* portcullis.connection_idle_timeout */
extern int	pc_guc_max_abandoned;	/* portcullis.max_abandoned_connections */
/* The longest lease that may be set, ms. */
#define PC_LEASE_MAX_MS	60000

extern int	pc_guc_login_timeout_ms;	/* portcullis.login_check_timeout */
extern int	pc_guc_lease_ms;	/* portcullis.lease */
extern bool pc_guc_allow_hold;	/* portcullis.allow_hold_cursors */
extern char *pc_guc_impersonation_iamid;	/* immuta.impersonation_iamid */
extern char *pc_guc_impersonation_userid;	/* immuta.impersonation_userid */
extern char *pc_guc_node_binary;	/* portcullis.node_binary: SIGHUP, superuser only; default portcullis = beside
									 * the module (pkglibdir), else on PATH */
extern int	pc_guc_decision_cache_kb;	/* portcullis.decision_cache */
extern int	pc_guc_audit_ring_kb;	/* portcullis.audit_ring: postmaster, default 1024, 64 .. 1048576, GUC_UNIT_KB */
extern int	pc_guc_audit_spool_mb;	/* portcullis.audit_spool_limit: SIGHUP, default 1024, 16 .., GUC_UNIT_MB */
extern int	pc_guc_audit_quota_mb;	/* portcullis.audit_quota: unshipped records of one role, SIGHUP, default 64,
									 * 0 = none, GUC_UNIT_MB */
extern bool pc_guc_audit_exempt;	/* portcullis.audit_exempt: SIGHUP, default on */

/* ---- loader.c: the Go library in this backend ---- */

/* The library's functions, by the names of engine.h without pc_. */
typedef struct pc_library pc_library;	/* defined in loader.h: one pointer a function */

/* Loads the library at first need; ereports on failure. */
extern const pc_library *pc_engine(void);

/* True once pc_engine has succeeded in this process. */
extern bool pc_engine_loaded(void);

/*
 * Waits until the library's eventfd is signalled, serving interrupts and
 * noticing a client that went away.  Returns after at most timeout_ms
 * (-1: no limit); false on timeout.
 */
extern bool pc_wait_progress(long timeout_ms, uint32 wait_event);

/*
 * Sleeps on a condition variable, which by itself would not notice a client
 * that went away; the caller has prepared to sleep or will look again.  True
 * on timeout.
 */
extern bool pc_sleep(ConditionVariable *condition, long timeout_ms);

/* ereport(ERROR) with what err says; frees err. */
extern void pc_throw(pc_error *err) __attribute__((noreturn));

/* The same at any level; returns below ERROR. */
extern void pc_report(int level, pc_error *err);

/* Waits for a ticket and returns its rows (caller: rows_free), or throws; cancels it on any error. */
extern void pc_ticket_rows(uint64_t ticket, pc_rows *rows);

/* ---- session.c: who this session is ---- */

/* Governed: session_user is neither a superuser nor an explicit member of portcullis_exempt. */
extern bool pc_session_governed(void);

/* Hooks of immuta.impersonation_iamid and immuta.impersonation_userid: they count only when set by SET. */
extern bool pc_impersonation_iamid_check(char **newval, void **extra, GucSource source);
extern void pc_impersonation_iamid_assign(const char *newval, void *extra);
extern bool pc_impersonation_userid_check(char **newval, void **extra, GucSource source);
extern void pc_impersonation_userid_assign(const char *newval, void *extra);

/* Fills *s for the current session, from shared memory and GUCs; strings live in CurrentMemoryContext. */
extern void pc_session_fill(pc_session *s);

/* ---- govern.c: decisions of the statements now running ---- */

/* What a scan needs from its statement. */
typedef struct pc_scan_grant
{
	uint64_t	decision;		/* 0: ungoverned session */
	int64_t		query_id;
	struct pc_frame *frame;		/* of the statement, NULL where nothing is to be audited */
} pc_scan_grant;

/*
 * Called by BeginForeignScan.  In a governed session: the decision that
 * ExecutorStart of this very statement made for the relation, or an error.
 */
extern void pc_govern_scan(EState *estate, Relation rel, const char *data_source, pc_scan_grant *grant);

/* Called by BeginForeignScan once the scan exists: it will be named in the intent record. */
extern void pc_govern_scan_begun(struct pc_frame *frame, uint64_t scan);

/*
 * Called before the first block's rows are handed on, and for every block:
 * waits until the intent is durable, and checks that the decision still holds.
 * Both are a few instructions when there is nothing to do.
 */
extern void pc_govern_block(struct pc_frame *frame);

/* Called for each row: what a block still holds ends with a revoke too. */
extern void pc_govern_row(struct pc_frame *frame);

/* Called by EndForeignScan with what the scan brought. */
extern void pc_govern_scan_ended(struct pc_frame *frame, const pc_scan_stats *stats);

/* ---- fdw.c ---- */
extern bool pc_is_our_relation(Oid relid);	/* a foreign table of our wrapper */
extern char *pc_relation_data_source(Oid relid);	/* its data_source option or NULL */
extern List *pc_plan_relations(PlannedStmt *stmt);	/* OIDs of our foreign tables scanned by the plan */

/* Facts for the library about a table, a source; palloc'd in CurrentMemoryContext. */
extern pc_table *pc_describe_table(Oid relid);
extern pc_source *pc_describe_source(Oid serverid, Oid userid);

/* ---- hooks, installed by _PG_init when preloaded ---- */
extern void pc_govern_init(void);	/* planner, ExecutorStart/Run/End, ProcessUtility, ClientAuthentication */
extern void pc_shmem_init(void);	/* shmem request and startup hooks, workers */
extern void pc_fdw_init(void);		/* transaction callbacks, exit callbacks */

#endif
