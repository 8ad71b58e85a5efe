/*
 * admin.c: the C functions of schema immutasys: sealing, calls of the policy
 * service, cache flush, notice of changed configuration, recent audit.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "commands/trigger.h"
#include "common/jsonapi.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "admin.h"
#include "compat.h"
#include "loader.h"
#include "seal.h"
#include "shmem.h"
#include "worker.h"

#define KEY_BYTES 32			/* as internal/seal reads it */

PG_FUNCTION_INFO_V1(portcullis_seal);
PG_FUNCTION_INFO_V1(portcullis_create_key_file);
PG_FUNCTION_INFO_V1(portcullis_service_call);
PG_FUNCTION_INFO_V1(portcullis_flush_caches);
PG_FUNCTION_INFO_V1(portcullis_config_changed);
PG_FUNCTION_INFO_V1(portcullis_reload_config);
PG_FUNCTION_INFO_V1(portcullis_recent_audit);

void
pc_admin_check(void)
{
	if (pc_shm == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("portcullis must be loaded at the server's start"),
				 errhint("Add portcullis to shared_preload_libraries and restart the server.")));
	if (pc_session_governed())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("governed sessions may not administer portcullis")));
}

/* ---- secrets --------------------------------------------------------------- */

Datum
portcullis_seal(PG_FUNCTION_ARGS)
{
	pc_admin_check();
	PG_RETURN_TEXT_P(cstring_to_text(pc_seal_text(text_to_cstring(PG_GETARG_TEXT_PP(0)))));
}

static bool
inside_data_directory(const char *path)
{
	char		clean[MAXPGPATH];

	strlcpy(clean, path, sizeof(clean));
	canonicalize_path(clean);
	return path_is_prefix_of_path(DataDir, clean);
}

/* Writes the key file that portcullis.key_file names; an existing one is kept. */
Datum
portcullis_create_key_file(PG_FUNCTION_ARGS)
{
	uint8		key[KEY_BYTES];
	int			fd;
	bool		ok;

	pc_admin_check();
	if (!superuser())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("only a superuser may create the key file")));
	if (pc_guc_key_file == NULL || !is_absolute_path(pc_guc_key_file) || inside_data_directory(pc_guc_key_file))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("portcullis.key_file names no file outside the data directory"),
				 errhint("Set it to an absolute path in postgresql.conf.")));
	fd = OpenTransientFilePerm(pc_guc_key_file, O_WRONLY | O_CREAT | O_EXCL | PG_BINARY, 0600);
	if (fd < 0 && errno == EEXIST)
		PG_RETURN_BOOL(false);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not create the key file \"%s\": %m", pc_guc_key_file)));
	ok = pg_strong_random(key, sizeof(key)) && write(fd, key, sizeof(key)) == sizeof(key) && pg_fsync(fd) == 0;
	explicit_bzero(key, sizeof(key));
	CloseTransientFile(fd);
	if (!ok)
	{
		unlink(pc_guc_key_file);
		ereport(ERROR,
				(errcode(ERRCODE_IO_ERROR), errmsg("could not write the key file \"%s\"", pc_guc_key_file)));
	}
	PG_RETURN_BOOL(true);
}

/* ---- the policy service ------------------------------------------------------- */

/* What stands between may answer in HTML. */
static bool
is_json(const char *text)
{
	return pg_parse_json(pc_json_lexer(text), &nullSemAction) == JSON_SUCCESS;
}

/* What is no key would end as a malformed request, and look like a service out of reach. */
static void
check_key(const char *key)
{
	if (key == NULL)
		return;
	if (key[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("api_key must not be empty"),
				 errhint("NULL stands for the node's own token.")));
	for (const char *c = key; *c != '\0'; c++)
		if (*c <= ' ' || *c > '~')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("api_key holds a blank, a line end or another character that no API key has")));
}

/* service_call(method, path, body, api_key): HTTP status and body. */
Datum
portcullis_service_call(PG_FUNCTION_ARGS)
{
	pc_session	session;
	pc_error	err = {0};
	pc_rows		rows = {0};
	uint64_t	ticket = 0;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};
	char	   *method;
	char	   *path;
	char	   *body;

	pc_admin_check();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("method and path must not be null")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	method = text_to_cstring(PG_GETARG_TEXT_PP(0));
	path = text_to_cstring(PG_GETARG_TEXT_PP(1));
	/* It is put behind the service's address: anything else would change that. */
	if (path[0] != '/' || path[1] == '/')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("path must begin with a slash, and one only")));
	body = PG_ARGISNULL(2) ? "" : DatumGetCString(DirectFunctionCall1(jsonb_out, PG_GETARG_DATUM(2)));
	pc_session_fill(&session);
	if (!PG_ARGISNULL(3))
		session.token = text_to_cstring(PG_GETARG_TEXT_PP(3));
	check_key(session.token);
	if (PC_CALL(service_call, &session, method, path, body, &ticket, &err) != PC_OK)
		pc_throw(&err);
	pc_ticket_rows(ticket, &rows);
	if (rows.nrows < 1 || rows.ncols < 2 || rows.cells[0] == NULL)
		elog(ERROR, "the library answered a service call with nothing");
	values[0] = Int32GetDatum(atoi(rows.cells[0]));
	body = pstrdup(rows.cells[1] ? rows.cells[1] : "");
	PC_CALL_VOID(rows_free, &rows);
	nulls[1] = !is_json(body);
	values[1] = nulls[1] ? (Datum) 0 : DirectFunctionCall1(jsonb_in, CStringGetDatum(body));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* ---- configuration and caches ---------------------------------------------------- */

static bool reload_at_commit = false;

static void
want_config(void)
{
	LWLockAcquire(pc_shm->lock, LW_EXCLUSIVE);
	pc_shm->config_wanted = true;
	LWLockRelease(pc_shm->lock);
	pc_wake_worker();
}

static void
transaction_ends(XactEvent event, void *arg)
{
	(void) arg;
	if (reload_at_commit && event == XACT_EVENT_COMMIT && pc_shm != NULL)
		want_config();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		reload_at_commit = false;
}

/* The reader sees only what is committed: so it is started then. */
Datum
portcullis_config_changed(PG_FUNCTION_ARGS)
{
	static bool registered = false;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called as a trigger")));
	if (!registered)
		RegisterXactCallback(transaction_ends, NULL);
	registered = true;
	reload_at_commit = true;
	return PointerGetDatum(NULL);
}

/* Reads the configuration again; the daemon then asks for a new token. */
Datum
portcullis_reload_config(PG_FUNCTION_ARGS)
{
	pc_admin_check();
	LWLockAcquire(pc_shm->lock, LW_EXCLUSIVE);
	pc_shm->config_generation++;
	LWLockRelease(pc_shm->lock);
	want_config();
	PG_RETURN_VOID();
}

/* All sessions ask anew: decisions at their next statement or block, accounts at the next login. */
Datum
portcullis_flush_caches(PG_FUNCTION_ARGS)
{
	HASH_SEQ_STATUS all;
	pc_account *account;

	pc_admin_check();
	pg_atomic_fetch_add_u64(&pc_shm->flushes, 1);
	LWLockAcquire(pc_shm->lock, LW_EXCLUSIVE);
	hash_seq_init(&all, pc_shm_accounts);
	while ((account = hash_seq_search(&all)) != NULL)
		if (account->state != PC_ACCOUNT_ASKED)
			hash_search(pc_shm_accounts, account->role, HASH_REMOVE, NULL);
	LWLockRelease(pc_shm->lock);
	PG_RETURN_VOID();
}

/* ---- recent audit ------------------------------------------------------------------- */

/* Splits "sequence chain record". */
static void
put_audit_line(ReturnSetInfo *rsinfo, char *line)
{
	char	   *chain = strchr(line, ' ');
	char	   *record = chain ? strchr(chain + 1, ' ') : NULL;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	if (record == NULL)
		return;
	*chain++ = '\0';
	*record++ = '\0';
	values[0] = Int64GetDatum(strtoll(line, NULL, 10));
	values[1] = CStringGetTextDatum(chain);
	values[2] = DirectFunctionCall1(jsonb_in, CStringGetDatum(record));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* The synced part of a segment, NULL where it was shipped and removed. */
static char *
read_segment(uint64 number, uint64 limit, size_t *length)
{
	char		path[MAXPGPATH + 32];
	struct stat st;
	char	   *text;
	int			fd;
	ssize_t		n;

	snprintf(path, sizeof(path), "%s/%08llu.log", pc_spool_directory(), (unsigned long long) number);
	if ((fd = OpenTransientFile(path, O_RDONLY | PG_BINARY)) < 0)
		return NULL;
	if (fstat(fd, &st) != 0)
		st.st_size = 0;
	text = MemoryContextAllocHuge(CurrentMemoryContext, (Size) Min((uint64) st.st_size, limit) + 1);
	n = read(fd, text, Min((uint64) st.st_size, limit));
	CloseTransientFile(fd);
	*length = Max(n, 0);
	text[*length] = '\0';
	return text;
}

/* Puts the last lines of a segment, newest first; answers how many. */
static int64
put_segment(ReturnSetInfo *rsinfo, char *text, size_t length, int64 wanted)
{
	int64		done = 0;

	while (done < wanted && length > 0)
	{
		char	   *line;

		text[--length] = '\0';	/* the line feed */
		line = memrchr(text, '\n', length);
		line = line ? line + 1 : text;
		put_audit_line(rsinfo, line);
		length = line - text;
		done++;
	}
	return done;
}

/* recent_audit(n): newest first, of what this node has not yet shipped and removed. */
Datum
portcullis_recent_audit(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		wanted = PG_GETARG_INT32(0);
	uint64		number;
	uint64		limit;

	pc_admin_check();
	pc_materialized_srf(fcinfo);
	number = pg_atomic_read_u64(&pc_shm->spool_segment);
	limit = pg_atomic_read_u64(&pc_shm->spool_offset);
	for (; number > 0 && wanted > 0; number--, limit = UINT64_MAX)
	{
		size_t		length;
		char	   *text = read_segment(number, limit, &length);

		if (text == NULL && limit == UINT64_MAX)
			break;
		if (text == NULL)
			continue;
		wanted -= put_segment(rsinfo, text, length, wanted);
		pfree(text);
		CHECK_FOR_INTERRUPTS();
	}
	return (Datum) 0;
}
