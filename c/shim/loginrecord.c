/*
 * loginrecord.c: audit records of logins.  The library is not loaded at a
 * login; the fields are those of engine/run/audit.go.
 */
#include "postgres.h"

#include <sys/time.h>
#include <time.h>

#include "common/ip.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "loginrecord.h"
#include "shmem.h"

void
pc_make_uuid(char *to)
{
	uint8		raw[16];

	if (!pg_strong_random(raw, sizeof(raw)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not draw random bytes")));
	raw[6] = (raw[6] & 0x0f) | 0x40;
	raw[8] = (raw[8] & 0x3f) | 0x80;
	for (int i = 0; i < 16; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*to++ = '-';
		to += sprintf(to, "%02x", raw[i]);
	}
}

static void
put(StringInfo json, const char *key, const char *value)
{
	appendStringInfo(json, "%s\"%s\":", json->len == 1 ? "" : ",", key);
	escape_json(json, value);
}

static void
put_time(StringInfo json)
{
	struct timeval now;
	struct tm	utc;
	time_t		seconds;
	char		text[64];
	size_t		n;

	gettimeofday(&now, NULL);
	seconds = now.tv_sec;
	gmtime_r(&seconds, &utc);
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(text + n, sizeof(text) - n, ".%06dZ", (int) now.tv_usec);
	put(json, "time", text);
}

static void
put_client(StringInfo json, Port *port)
{
	char		address[NI_MAXHOST];

	if (port->raddr.addr.ss_family != AF_UNIX &&
		pg_getnameinfo_all(&port->raddr.addr, port->raddr.salen, address, sizeof(address), NULL, 0,
						   NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		put(json, "client_address", address);
	if (port->application_name != NULL)
		put(json, "application", port->application_name);
}

/*
 * Nobody is let in whose login cannot be recorded: that raises.  The record is
 * in the ring then, ahead of whatever the session does.  A refused login is
 * refused in any case; its record gives way to the limits, or whoever may not
 * come in could fill the disk by trying.
 */
void
pc_record_login(Port *port, bool accepted, const char *reason)
{
	StringInfoData json;
	char		id[37];
	char		node[PC_NODE_MAX];
	Oid			role = get_role_oid(port->user_name, true);

	if (!pc_configured())
		return;
	LWLockAcquire(pc_shm->lock, LW_SHARED);
	strlcpy(node, pc_shm->node, sizeof(node));
	LWLockRelease(pc_shm->lock);
	pc_make_uuid(id);
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	put(&json, "id", id);
	put(&json, "kind", "login");
	put_time(&json);
	put(&json, "node", node);
	put(&json, "session", psprintf("%d.%lld", MyProcPid, (long long) MyStartTimestamp +
								   (long long) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY));
	put(&json, "role", port->user_name);
	appendStringInfo(&json, ",\"role_oid\":%u,\"governed\":true", role);
	put(&json, "database", port->database_name);
	put_client(&json, port);
	put(&json, "outcome", accepted ? "success" : "denied");
	if (!accepted)
	{
		put(&json, "sqlstate", "28000");
		put(&json, "message", reason);
	}
	appendStringInfoChar(&json, '}');
	if (accepted)
		(void) pc_spool_append(json.data, role);
	else if (!pc_spool_append_within_limits(json.data, role))
		pg_atomic_fetch_add_u64(&pc_shm->refused_logins_lost, 1);
	pfree(json.data);
}
