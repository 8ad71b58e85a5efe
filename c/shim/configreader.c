/*
 * configreader.c: a short-lived worker attached to portcullis.database reads
 * immutasys.service_config and dbtoken, and hands them to the main worker,
 * which starts it when it is due.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "portcullis.h"
#include "shmem.h"
#include "worker.h"

#define RETRY_MIN_MS	5000
#define RETRY_MAX_MS	300000
#define NEVER			UINT64_MAX

/* ---- in the main worker: when to read --------------------------------- */

static BackgroundWorkerHandle *reader = NULL;
static uint64 read_not_before = 0;
static uint64 retry = RETRY_MIN_MS;

static void
launch(void)
{
	BackgroundWorker worker;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	memset(&worker, 0, sizeof(worker));
	strlcpy(worker.bgw_name, "portcullis config", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "portcullis config", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "portcullis", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "pc_config_main", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	if (!RegisterDynamicBackgroundWorker(&worker, &reader))
		reader = NULL;			/* no slot free: max_worker_processes */
	MemoryContextSwitchTo(old);
}

static bool
take_wish(void)
{
	bool		wanted;

	LWLockAcquire(pc_shm->lock, LW_EXCLUSIVE);
	wanted = pc_shm->config_wanted;
	pc_shm->config_wanted = false;
	LWLockRelease(pc_shm->lock);
	return wanted;
}

/* Until there is a configuration it is looked for; a standby is told of changes by nobody. */
static bool
keep_looking(void)
{
	return !pc_configured() || RecoveryInProgress();
}

/* Where it cannot be read (no such database, say) the node counts as not configured, until it can. */
static void
give_up_for_now(void)
{
	uint32		unread = PC_CONFIG_UNREAD;

	if (pg_atomic_compare_exchange_u32(&pc_shm->config_state, &unread, PC_CONFIG_NONE))
		ConditionVariableBroadcast(&pc_shm->accounts_changed);
}

uint64
pc_config_tend(void)
{
	uint64		now = pc_clock_ms();
	pid_t		pid;

	if (reader != NULL)
	{
		BgwHandleStatus state = GetBackgroundWorkerPid(reader, &pid);

		if (state == BGWH_STARTED || state == BGWH_NOT_YET_STARTED)
			return 1000;		/* its end wakes us by a signal */
		pfree(reader);
		reader = NULL;
		give_up_for_now();
		read_not_before = now + retry;
		retry = pc_configured() ? RETRY_MIN_MS : Min(2 * retry, RETRY_MAX_MS);
	}
	if (take_wish())
	{
		read_not_before = now;
		retry = RETRY_MIN_MS;
		launch();
		return 1000;
	}
	if (!keep_looking())
		return NEVER;
	if (now < read_not_before)
		return read_not_before - now;
	launch();
	return 1000;
}

/* ---- the reader ---------------------------------------------------------- */

static void
tell_error(const char *message)
{
	LWLockAcquire(pc_shm->lock, LW_EXCLUSIVE);
	strlcpy(pc_shm->config_error, message, sizeof(pc_shm->config_error));
	LWLockRelease(pc_shm->lock);
}

/* Only our extension's own table counts, not one that somebody made under its name. */
static bool
is_ours(const char *table)
{
	Oid			extension = get_extension_oid("portcullis", true);
	Oid			schema = get_namespace_oid("immutasys", true);
	Oid			relid = OidIsValid(schema) ? get_relname_relid(table, schema) : InvalidOid;

	return OidIsValid(extension) && OidIsValid(relid) &&
		getExtensionOfObject(RelationRelationId, relid) == extension;
}

static char *
one_value(int column)
{
	return SPI_processed == 0 ? NULL : SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);
}

static void
query(const char *sql)
{
	if (SPI_execute(sql, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the configuration");
}

/* The name of this node: the setting, else the table, else the host's. */
static const char *
node_name(const char *configured)
{
	static char host[PC_NODE_MAX];

	if (pc_guc_node_name != NULL && pc_guc_node_name[0] != '\0')
		return pc_guc_node_name;
	if (configured != NULL && configured[0] != '\0')
		return configured;
	if (gethostname(host, sizeof(host) - 1) != 0)
		elog(ERROR, "could not get the host's name: %m");
	return host;
}

static void
hand_over(const char *url, const char *node, const char *api_key)
{
	bool		changed;

	LWLockAcquire(pc_shm->lock, LW_EXCLUSIVE);
	changed = strcmp(pc_shm->url, url) != 0 || strcmp(pc_shm->node, node) != 0 ||
		strcmp(pc_shm_secrets->api_key, api_key) != 0;
	if (changed)
	{
		/* A token of another service or node must not be used again. */
		memset(pc_shm_secrets->token, 0, PC_TOKEN_MAX);
		pc_shm->token_expires = 0;
		pg_atomic_write_u64(&pc_shm->lease_end, 0);
		strlcpy(pc_shm->url, url, sizeof(pc_shm->url));
		strlcpy(pc_shm->node, node, sizeof(pc_shm->node));
		strlcpy(pc_shm_secrets->api_key, api_key, sizeof(pc_shm_secrets->api_key));
		pc_shm->config_generation++;
	}
	pc_shm->config_error[0] = '\0';
	pg_atomic_write_u32(&pc_shm->config_state, url[0] != '\0' ? PC_CONFIG_SET : PC_CONFIG_NONE);
	LWLockRelease(pc_shm->lock);
	ConditionVariableBroadcast(&pc_shm->accounts_changed);
	pc_wake_worker();
}

static void
read_configuration(void)
{
	const char *url = NULL;
	const char *node = NULL;
	const char *api_key = NULL;

	if (is_ours("service_config") && is_ours("dbtoken"))
	{
		query("SELECT url, node FROM immutasys.service_config");
		url = one_value(1);
		node = one_value(2);
		query("SELECT api_key_sealed FROM immutasys.dbtoken");
		api_key = one_value(1);
	}
	url = url ? url : "";
	api_key = api_key ? api_key : "";
	node = node_name(node);
	if (strlen(url) >= PC_URL_MAX || strlen(node) >= PC_NODE_MAX || strlen(api_key) >= PC_API_KEY_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("a value in immutasys.service_config or immutasys.dbtoken is too long")));
	hand_over(url, node, api_key);
}

/* Without the database there is nothing to say in the log each time: status() says it. */
static void
connect_quietly(void)
{
	char	   *level = pstrdup(GetConfigOption("log_min_messages", false, false));

	tell_error(psprintf("the database \"%s\" (portcullis.database) cannot be connected to", pc_guc_database));
	SetConfigOption("log_min_messages", "panic", PGC_SUSET, PGC_S_OVERRIDE);
	BackgroundWorkerInitializeConnection(pc_guc_database, NULL, 0);
	SetConfigOption("log_min_messages", level, PGC_SUSET, PGC_S_OVERRIDE);
}

void
pc_config_main(Datum arg)
{
	(void) arg;
	BackgroundWorkerUnblockSignals();
	connect_quietly();
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_OVERRIDE);
	StartTransactionCommand();
	PG_TRY();
	{
		SPI_connect();
		PushActiveSnapshot(GetTransactionSnapshot());
		read_configuration();
		PopActiveSnapshot();
		SPI_finish();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(TopMemoryContext);
		tell_error(CopyErrorData()->message);
		PG_RE_THROW();
	}
	PG_END_TRY();
	CommitTransactionCommand();
}
