/*
 * session.c: who this session is: governed or not, what its role may not
 * hold, and what the library is told of it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "common/ip.h"
#include "libpq/libpq-be.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "portcullis.h"
#include "session.h"
#include "shmem.h"

#define EXEMPT_ROLE "portcullis_exempt"

/* Roles that reach files, programs, or what other sessions read. */
static const char *const dangerous_roles[] = {
	"pg_read_server_files", "pg_write_server_files", "pg_execute_server_program",
	"pg_read_all_data", "pg_write_all_data", "pg_read_all_settings", "pg_read_all_stats",
	"pg_monitor", "pg_create_subscription", "pg_maintain",
};

/* What was found out about the session user; void after a change of roles. */
static bool known = false;
static Oid	known_role = InvalidOid;
static bool known_governed = true;
static char *known_danger = NULL;

static void
roles_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	(void) arg;
	(void) cacheid;
	(void) hashvalue;
	known = false;
}

static void
watch_roles(void)
{
	static bool watching = false;

	if (watching)
		return;
	watching = true;
	CacheRegisterSyscacheCallback(AUTHOID, roles_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMMEMROLE, roles_changed, (Datum) 0);
}

bool
pc_role_governed(Oid role)
{
	Oid			exempt;

	if (superuser_arg(role))
		return false;
	/* Superusers are members of every role for is_member_of_role, hence nosuper. */
	exempt = get_role_oid(EXEMPT_ROLE, true);
	return !OidIsValid(exempt) || !is_member_of_role_nosuper(role, exempt);
}

static const char *
attribute_of(Form_pg_authid role)
{
	if (role->rolsuper)
		return "SUPERUSER";
	if (role->rolcreaterole)
		return "CREATEROLE";
	if (role->rolreplication)
		return "REPLICATION";
	if (role->rolbypassrls)
		return "BYPASSRLS";
	return NULL;
}

static bool
is_dangerous_name(const char *name)
{
	for (size_t i = 0; i < lengthof(dangerous_roles); i++)
		if (strcmp(name, dangerous_roles[i]) == 0)
			return true;
	return false;
}

/* Attributes are not inherited, but SET ROLE gets at them: so every role reachable counts. */
char *
pc_role_danger(Oid role)
{
	Relation	rel = table_open(AuthIdRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	char	   *danger = NULL;

	while (danger == NULL && (tuple = systable_getnext(scan)) != NULL)
	{
		Form_pg_authid other = (Form_pg_authid) GETSTRUCT(tuple);
		const char *attribute = attribute_of(other);

		if ((attribute == NULL && !is_dangerous_name(NameStr(other->rolname))) ||
			!is_member_of_role_nosuper(role, other->oid))
			continue;
		if (other->oid == role)
			danger = psprintf("Role \"%s\" holds %s.", NameStr(other->rolname), attribute);
		else if (attribute != NULL)
			danger = psprintf("It is a member of role \"%s\", which holds %s.", NameStr(other->rolname), attribute);
		else
			danger = psprintf("It is a member of role \"%s\".", NameStr(other->rolname));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return danger;
}

/* A change of roles that arrives while we look makes the answer void again. */
static void
find_out(Oid role)
{
	char	   *danger = NULL;
	bool		governed;

	watch_roles();
	known = true;
	known_role = role;
	known_governed = true;
	governed = pc_role_governed(role);
	if (governed)
		danger = pc_role_danger(role);
	if (known_danger != NULL)
		pfree(known_danger);
	known_danger = NULL;
	if (danger != NULL)
		known_danger = MemoryContextStrdup(TopMemoryContext, danger);
	known_governed = governed;
}

static void
ensure_known(void)
{
	Oid			role = GetSessionUserId();

	if (known && known_role == role)
		return;
	PG_TRY();
	{
		find_out(role);
	}
	PG_CATCH();
	{
		known = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * Does code of a governed role run in a session that is not governed?  Index
 * expressions under VACUUM, ANALYZE and REINDEX and queries of materialized
 * views run as their owner in the session of whoever maintains them: those of
 * autovacuum are the bootstrap superuser's.  A definer function inside of such
 * work hands its rows to that owner, whose name is then no longer at hand.
 */
static bool
acts_for_governed(void)
{
	Oid			user;
	int			context;

	if (MyBackendType == B_AUTOVAC_WORKER)
		return true;
	GetUserIdAndSecContext(&user, &context);
	if ((context & (SECURITY_RESTRICTED_OPERATION | SECURITY_LOCAL_USERID_CHANGE)) == 0)
		return false;
	if ((context & SECURITY_RESTRICTED_OPERATION) != 0 && (context & SECURITY_LOCAL_USERID_CHANGE) != 0)
		return true;
	return pc_role_governed(user);
}

bool
pc_session_governed(void)
{
	/* Without a transaction no catalog can be read: what is not known counts as governed. */
	if (!IsTransactionState())
		return !known || known_role != GetSessionUserId() || known_governed;
	ensure_known();
	return known_governed || acts_for_governed();
}

bool
pc_may_take_secret(void)
{
	Oid			schema = get_namespace_oid("immutasys", true);

	ensure_known();
	if (!OidIsValid(schema) || known_governed)
		return false;
	/* A definer function has no other name for who typed the statement that calls it. */
	return pc_may_use_schema(schema, GetUserId()) || pc_may_use_schema(schema, GetOuterUserId());
}

/* No person stands behind the statement: its rows would be the session's, its reader another. */
static void
refuse_borrowed(void)
{
	if (!known_governed && acts_for_governed())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("code of role \"%s\" may not read data sources in a session of role \"%s\"",
						GetUserNameFromId(GetUserId(), true), GetUserNameFromId(GetSessionUserId(), true)),
				 errdetail("Functions, indexes and materialized views of governed roles see data sources only in sessions of those roles.")));
}

void
pc_session_check_role(void)
{
	ensure_known();
	refuse_borrowed();
	if (known_governed && known_danger != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not read governed data", GetUserNameFromId(GetSessionUserId(), false)),
				 errdetail("%s", known_danger),
				 errhint("An administrator takes that from the role, or makes it a member of " EXEMPT_ROLE ".")));
}

/* ---- what the library is told --------------------------------------------- */

static const char *
client_address(void)
{
	static char address[NI_MAXHOST];

	if (address[0] == '\0' && MyProcPort != NULL && MyProcPort->raddr.addr.ss_family != AF_UNIX)
		(void) pg_getnameinfo_all(&MyProcPort->raddr.addr, MyProcPort->raddr.salen,
								  address, sizeof(address), NULL, 0, NI_NUMERICHOST | NI_NUMERICSERV);
	return address[0] != '\0' ? address : NULL;
}

static void
fill_shared(pc_session *s)
{
	uint64		now = pc_clock_ms();
	uint64		lease_end = pg_atomic_read_u64(&pc_shm->lease_end);

	s->epoch = pc_epoch();
	s->lease_ms = lease_end > now ? (int32) Min(lease_end - now, INT_MAX) : 0;
	LWLockAcquire(pc_shm->lock, LW_SHARED);
	s->node = pstrdup(pc_shm->node);
	if (pc_shm->url[0] != '\0')
		s->service_url = pstrdup(pc_shm->url);
	if (pc_shm_secrets->token[0] != '\0' && pc_shm->token_expires > now)
		s->token = pstrdup(pc_shm_secrets->token);
	LWLockRelease(pc_shm->lock);
}

/* Never raises for the impersonation: a void pair is left out. */
void
pc_session_describe(pc_session *s)
{
	memset(s, 0, sizeof(*s));
	s->role_oid = GetSessionUserId();
	s->pid = MyProcPid;
	s->governed = pc_session_governed();
	s->session_start = MyStartTimestamp +
		(int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	s->role = GetUserNameFromId(s->role_oid, false);
	s->database = OidIsValid(MyDatabaseId) ? get_database_name(MyDatabaseId) : NULL;
	s->client_address = client_address();
	s->application = pstrdup(application_name ? application_name : "");
	s->node = "";
	if (s->governed && pc_impersonation_state() == PC_IMPERSONATION_VALID)
	{
		s->impersonation_iamid = pstrdup(pc_guc_impersonation_iamid);
		s->impersonation_userid = pstrdup(pc_guc_impersonation_userid);
	}
	if (pc_shm != NULL)
		fill_shared(s);
}

void
pc_session_fill(pc_session *s)
{
	pc_session_describe(s);
	if (!s->governed)
		return;
	if (pc_impersonation_state() == PC_IMPERSONATION_VOID)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the impersonation settings do not belong together"),
				 errdetail("immuta.impersonation_iamid and immuta.impersonation_userid were not both set in one transaction since the last change."),
				 errhint("SET both in one transaction, or RESET both.")));
	pc_impersonation_used();
}
