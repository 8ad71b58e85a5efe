/*
 * status.c: immutasys.status(): what an operator looks at first.
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "admin.h"
#include "compat.h"
#include "loader.h"
#include "shmem.h"

PG_FUNCTION_INFO_V1(portcullis_status);

static void
put(ReturnSetInfo *rsinfo, const char *name, const char *value)
{
	Datum		values[2] = {CStringGetTextDatum(name), (Datum) 0};
	bool		nulls[2] = {false, value == NULL};

	if (value != NULL)
		values[1] = CStringGetTextDatum(value);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
put_number(ReturnSetInfo *rsinfo, const char *name, uint64 n)
{
	put(rsinfo, name, psprintf("%llu", (unsigned long long) n));
}

static const char *
config_state(void)
{
	switch (pg_atomic_read_u32(&pc_shm->config_state))
	{
		case PC_CONFIG_SET:
			return "configured";
		case PC_CONFIG_NONE:
			return "not configured";
		default:
			return "not read yet";
	}
}

static const char *
token_state(uint64 now)
{
	if (pc_shm_secrets->token[0] == '\0')
		return "none";
	if (pc_shm->token_expires <= now)
		return "expired";
	return psprintf("%llu s old, expires in %llu s",
					(unsigned long long) (now - pc_shm->token_received) / 1000,
					(unsigned long long) (pc_shm->token_expires - now) / 1000);
}

static const char *
nonempty(const char *text)
{
	return text[0] != '\0' ? pstrdup(text) : NULL;
}

/* Copies under the lock, as values are collected elsewhere. */
static void
put_node(ReturnSetInfo *rsinfo)
{
	pc_shared  *copy = palloc(sizeof(pc_shared));
	uint64		now = pc_clock_ms();
	const char *token;
	bool		has_key;

	LWLockAcquire(pc_shm->lock, LW_SHARED);
	memcpy(copy, pc_shm, sizeof(pc_shared));
	token = token_state(now);
	has_key = pc_shm_secrets->api_key[0] != '\0';
	LWLockRelease(pc_shm->lock);

	put(rsinfo, "service.state", config_state());
	put(rsinfo, "service.url", nonempty(copy->url));
	put(rsinfo, "service.node", nonempty(copy->node));
	put(rsinfo, "service.api_key", has_key ? "present" : "none");
	put(rsinfo, "service.config_error", nonempty(copy->config_error));
	put(rsinfo, "service.token", token);
	put(rsinfo, "worker.pid", copy->worker_pid ? psprintf("%d", (int) copy->worker_pid) : NULL);
	put(rsinfo, "daemon.pid", copy->daemon_pid ? psprintf("%d", (int) copy->daemon_pid) : NULL);
	put_number(rsinfo, "daemon.starts", copy->daemon_starts);
	put(rsinfo, "daemon.last_end", nonempty(copy->daemon_error));
	for (int i = 0; i < copy->nstatus; i++)
		put(rsinfo, psprintf("node.%s", copy->status[i].key), copy->status[i].value);
	pfree(copy);
}

static void
put_policy(ReturnSetInfo *rsinfo)
{
	uint64		now = pc_clock_ms();
	uint64		lease_end = pg_atomic_read_u64(&pc_shm->lease_end);

	put_number(rsinfo, "policy.version", pg_atomic_read_u64(&pc_shm->policy_version));
	put_number(rsinfo, "policy.lease_ms", lease_end > now ? lease_end - now : 0);
	put_number(rsinfo, "cache.flushes", pg_atomic_read_u64(&pc_shm->flushes));
	put_number(rsinfo, "cache.decisions", pc_store_count());
	put_number(rsinfo, "cache.accounts", hash_get_num_entries(pc_shm_accounts));
	put_number(rsinfo, "count.decisions", pg_atomic_read_u64(&pc_shm->decisions));
	put_number(rsinfo, "count.decisions_asked", pg_atomic_read_u64(&pc_shm->decisions_asked));
	put_number(rsinfo, "count.decisions_shared", pg_atomic_read_u64(&pc_shm->decisions_shared));
	put_number(rsinfo, "count.denials", pg_atomic_read_u64(&pc_shm->denials));
	put_number(rsinfo, "count.login_checks", pg_atomic_read_u64(&pc_shm->login_checks));
	put_number(rsinfo, "count.logins_refused", pg_atomic_read_u64(&pc_shm->logins_refused));
}

static void
put_spool(ReturnSetInfo *rsinfo)
{
	char		error[PC_ERROR_MAX];
	uint64		head;

	LWLockAcquire(pc_shm->ring_lock, LW_SHARED);
	strlcpy(error, pc_shm->spool_error, sizeof(error));
	head = pc_shm->ring_head;
	LWLockRelease(pc_shm->ring_lock);

	put(rsinfo, "audit.state", pg_atomic_read_u32(&pc_shm->spool_failed) ? "failed" : "writing");
	put(rsinfo, "audit.last_error", nonempty(error));
	put_number(rsinfo, "audit.sequence", pg_atomic_read_u64(&pc_shm->spool_seq));
	put_number(rsinfo, "audit.waiting_bytes", head - pg_atomic_read_u64(&pc_shm->ring_synced));
	put_number(rsinfo, "audit.spool_bytes", pg_atomic_read_u64(&pc_shm->spool_bytes));
	put(rsinfo, "audit.synced", psprintf("%llu/%llu", (unsigned long long) pg_atomic_read_u64(&pc_shm->spool_segment),
										 (unsigned long long) pg_atomic_read_u64(&pc_shm->spool_offset)));
	put(rsinfo, "audit.shipped", psprintf("%llu/%llu", (unsigned long long) pg_atomic_read_u64(&pc_shm->shipped_segment),
										  (unsigned long long) pg_atomic_read_u64(&pc_shm->shipped_offset)));
	put_number(rsinfo, "audit.completions_lost", pg_atomic_read_u64(&pc_shm->completions_lost));
	put_number(rsinfo, "audit.refused_logins_lost", pg_atomic_read_u64(&pc_shm->refused_logins_lost));
}

Datum
portcullis_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	pc_admin_check();
	pc_materialized_srf(fcinfo);
	put_node(rsinfo);
	put_policy(rsinfo);
	put_spool(rsinfo);
	put(rsinfo, "library.abi", psprintf("%d", PC_ABI));
	put(rsinfo, "library.loaded_here", pc_engine_loaded() ? "yes" : "no");
	return (Datum) 0;
}
