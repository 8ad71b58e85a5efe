/*
 * portcullis.c: the module's entry: settings and hooks.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "loader.h"

PG_MODULE_MAGIC;

bool		pc_preloaded = false;

char	   *pc_guc_library_path = "$libdir/portcullis_engine.so";
char	   *pc_guc_database = "immuta";
char	   *pc_guc_key_file = "";
char	   *pc_guc_ca_file = "";
char	   *pc_guc_file_folder = "";
char	   *pc_guc_allowed_hosts = "*";
char	   *pc_guc_node_name = "";
char	   *pc_guc_node_binary = "portcullis";
char	   *pc_guc_impersonation_iamid = "";
char	   *pc_guc_impersonation_userid = "";
int			pc_guc_block_size_kb = 1024;
int			pc_guc_idle_timeout_s = 300;
int			pc_guc_max_abandoned = 4;
int			pc_guc_login_timeout_ms = 2000;
int			pc_guc_lease_ms = 5000;
int			pc_guc_go_max_procs = 2;
int			pc_guc_memory_limit_kb = 64 * 1024;
int			pc_guc_decision_cache_kb = 4096;
int			pc_guc_audit_ring_kb = 1024;
int			pc_guc_audit_spool_mb = 1024;
int			pc_guc_audit_quota_mb = 64;
bool		pc_guc_allow_hold = true;
bool		pc_guc_audit_exempt = true;

void		_PG_init(void);

static void define_node_settings(void);
static void define_audit_settings(void);
static void define_library_settings(void);
static void define_session_settings(void);

void
_PG_init(void)
{
	/*
	 * Loaded later (CREATE EXTENSION before the restart, LOAD): the functions
	 * exist and say what is missing, nothing else is changed.
	 */
	if (!process_shared_preload_libraries_in_progress)
		return;
	pc_preloaded = true;

	define_node_settings();
	define_audit_settings();
	define_library_settings();
	define_session_settings();
	MarkGUCPrefixReserved("portcullis");
	MarkGUCPrefixReserved("immuta");

	pc_hold_library();
	pc_shmem_init();
	pc_govern_init();
	pc_fdw_init();
}

/* What belongs to the instance: postgresql.conf only. */
static void
define_node_settings(void)
{
	DefineCustomStringVariable("portcullis.database",
							   "Database in which the extension's tables live.",
							   NULL, &pc_guc_database, "immuta",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("portcullis.node_name",
							   "Name of this instance towards the policy service.",
							   "Empty: the host's name and the port.",
							   &pc_guc_node_name, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("portcullis.key_file",
							   "File with the node's key, which unseals credentials and the API key.",
							   "It must lie outside the data directory, readable by the server only.",
							   &pc_guc_key_file, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("portcullis.service_ca_file",
							   "Certificate authorities (PEM) that the policy service's TLS must verify against.",
							   "Empty: the system's.",
							   &pc_guc_ca_file, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("portcullis.file_folder",
							   "Folder below which file databases must lie.",
							   "Empty: none may be opened.",
							   &pc_guc_file_folder, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("portcullis.allowed_hosts",
							   "Hosts that sources may be at: networks, addresses, names, * for all that are not reserved.",
							   "Entries stand between commas; host:port or host:from-to limits one, !host refuses it.",
							   &pc_guc_allowed_hosts, "*",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("portcullis.node_binary",
							   "Program that the node daemon is started from.",
							   "Without a slash it is looked for beside the module, then on PATH.",
							   &pc_guc_node_binary, "portcullis",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("portcullis.decision_cache",
							"Shared memory for decisions that all sessions share; 0: each session asks for itself.",
							NULL, &pc_guc_decision_cache_kb, 4096, 0, 1024 * 1024,
							PGC_POSTMASTER, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("portcullis.login_check_timeout",
							"Longest wait for the login check of an account.",
							NULL, &pc_guc_login_timeout_ms, 2000, 10, 60000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("portcullis.lease",
							"How long statements may start after the policy service was last heard.",
							NULL, &pc_guc_lease_ms, 5000, 1000, PC_LEASE_MAX_MS,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

static void
define_audit_settings(void)
{
	DefineCustomIntVariable("portcullis.audit_ring",
							"Shared memory for audit records that are not written yet.",
							NULL, &pc_guc_audit_ring_kb, 1024, 64, 1024 * 1024,
							PGC_POSTMASTER, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("portcullis.audit_spool_limit",
							"Disk space for audit records that are not shipped yet.",
							"Governed statements are refused while it is full.",
							&pc_guc_audit_spool_mb, 1024, 16, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("portcullis.audit_quota",
							"Records of one role that may wait to be shipped; 0 sets no limit.",
							NULL, &pc_guc_audit_quota_mb, 64, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomBoolVariable("portcullis.audit_exempt",
							 "Also records statements of sessions that are not governed.",
							 NULL, &pc_guc_audit_exempt, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/* What the library is started with: read once in a session, at its first need. */
static void
define_library_settings(void)
{
	DefineCustomStringVariable("portcullis.library_path",
							   "File of the Go library.",
							   NULL, &pc_guc_library_path, "$libdir/portcullis_engine.so",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("portcullis.go_max_procs",
							"Threads of a session that may run Go code at the same time.",
							NULL, &pc_guc_go_max_procs, 2, 1, 64,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("portcullis.memory_limit",
							"Memory that the Go runtime of a session tries to stay below.",
							NULL, &pc_guc_memory_limit_kb, 64 * 1024, 8 * 1024, MAX_KILOBYTES,
							PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("portcullis.block_size",
							"Bound on one block of rows; a scan holds at most three, in pages eight.",
							NULL, &pc_guc_block_size_kb, 1024, 64, 1024 * 1024,
							PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("portcullis.connection_idle_timeout",
							"Remote connections idle for longer are closed; 0 keeps them.",
							NULL, &pc_guc_idle_timeout_s, 300, 0, 86400,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("portcullis.max_abandoned_connections",
							"Connects of one session that may hang in a driver after they were cancelled.",
							NULL, &pc_guc_max_abandoned, 4, 1, 100,
							PGC_SUSET, 0, NULL, NULL, NULL);
}

static void
define_session_settings(void)
{
	DefineCustomBoolVariable("portcullis.allow_hold_cursors",
							 "Lets governed sessions declare cursors WITH HOLD.",
							 "Rows that such a cursor has kept outlive a revoke.",
							 &pc_guc_allow_hold, true,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("immuta.impersonation_iamid",
							   "Identity provider of the person to act as.",
							   NULL, &pc_guc_impersonation_iamid, "",
							   PGC_USERSET, 0, pc_impersonation_iamid_check,
							   pc_impersonation_iamid_assign, NULL);
	DefineCustomStringVariable("immuta.impersonation_userid",
							   "The person to act as, where this account may.",
							   NULL, &pc_guc_impersonation_userid, "",
							   PGC_USERSET, 0, pc_impersonation_userid_check,
							   pc_impersonation_userid_assign, NULL);
}
