/*
 * loader.c: the Go library in this backend: loaded at first need, after the
 * fork, with the signals blocked that its threads must never see.
 */
#include "postgres.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/parallel.h"
#include "miscadmin.h"
#include "storage/ipc.h"

#include "loader.h"

static pc_library library;
static bool loaded = false;
static bool stopped = false;

/* The library as it was when the server started, -1: there was none. */
static int	held = -1;

static char *library_file(const char *path);
static void *open_library(const char *path, char **why);
static void resolve(void *handle, const char *path);
static void start(void);
static void stop_at_exit(int code, Datum arg);
static void leave(int status, void *arg);
static char *library_path(void);

extern void pc_progress_init(int event_fd);

/*
 * A newer package may be installed under the running server, whose library
 * would not fit this module.  The file is held open, so that until the restart
 * every session finds the one that does.
 */
void
pc_hold_library(void)
{
	char	   *path = library_path();

	held = open(path, O_RDONLY | O_CLOEXEC);
	if (held < 0)
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("could not open the portcullis library \"%s\": %m", path),
				 errhint("Install portcullis_engine.so, or set portcullis.library_path.")));
	pfree(path);
}

bool
pc_engine_loaded(void)
{
	return loaded && !stopped;
}

const pc_library *
pc_engine(void)
{
	static bool failed = false;
	char	   *path;
	char	   *why = NULL;
	void	   *handle;

	if (likely(loaded && !stopped))
		return &library;

	if (!pc_preloaded)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("portcullis is not preloaded"),
				 errdetail("Policies hold only where the module was loaded by the server at its start."),
				 errhint("Add portcullis to shared_preload_libraries in postgresql.conf and restart the server. After an upgrade a restart is all it needs.")));
	if (IsPostmasterEnvironment && !IsUnderPostmaster)
		elog(ERROR, "the portcullis library must not be loaded by the postmaster");
	if (stopped)
		ereport(ERROR,
				(errcode(ERRCODE_ADMIN_SHUTDOWN),
				 errmsg("this session is ending")));
	if (failed)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("the portcullis library failed to start in this session"),
				 errhint("Open a new session; its log has the reason.")));

	path = library_path();
	handle = open_library(library_file(path), &why);
	if (handle == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("could not load the portcullis library \"%s\"", path),
				 errdetail("%s", why),
				 errhint("Install portcullis_engine.so, or set portcullis.library_path.")));
	resolve(handle, path);

	/* Whatever goes wrong from here on, the Go runtime runs and cannot be started twice. */
	failed = true;
	start();
	failed = false;
	loaded = true;
	pfree(path);
	return &library;
}

/* The path, or another name of the held file where something else lies there by now. */
static char *
library_file(const char *path)
{
	struct stat ours;
	struct stat there;

	if (held < 0 || fstat(held, &ours) != 0 ||
		(stat(path, &there) == 0 && there.st_dev == ours.st_dev && there.st_ino == ours.st_ino))
		return pstrdup(path);
	return psprintf("/proc/self/fd/%d", held);
}

static void *
open_library(const char *path, char **why)
{
	sigset_t	saved;
	void	   *handle;

	pc_block_signals(&saved);
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	pc_restore_signals(&saved);
	if (handle == NULL)
		*why = pstrdup(dlerror());
	return handle;
}

/* Finds every function, then compares the ABI number. */
static void
resolve(void *handle, const char *path)
{
	sigset_t	saved;
	int32		abi;

#define PC_RESOLVE(name) \
	do { \
		*(void **) &library.unmasked_##name = dlsym(handle, "pc_" #name); \
		if (library.unmasked_##name == NULL) \
			ereport(ERROR, \
					(errcode(ERRCODE_UNDEFINED_FUNCTION), \
					 errmsg("the library \"%s\" has no function %s", path, "pc_" #name), \
					 errhint("Install portcullis.so and portcullis_engine.so of the same build and restart the server."))); \
	} while (0);
	PC_FUNCTIONS(PC_RESOLVE)
#undef PC_RESOLVE

	pc_block_signals(&saved);
	abi = library.unmasked_abi();
	pc_restore_signals(&saved);
	if (abi != PC_ABI)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("the library \"%s\" does not fit the module portcullis.so", path),
				 errdetail("The module speaks ABI %d, the library ABI %d.", PC_ABI, abi),
				 errhint("Install both of the same build and restart the server.")));
}

static void
start(void)
{
	pc_start_args args = {0};
	pc_error	err = {0};
	int32		event_fd = -1;
	int32		rc;
	sigset_t	saved;

#define PC_SET_OR_NULL(s) ((s) != NULL && (s)[0] != '\0' ? (s) : NULL)
	args.pg_major = PG_VERSION_NUM / 10000;
	args.go_max_procs = pc_guc_go_max_procs;
	args.memory_limit = (int64) pc_guc_memory_limit_kb * 1024;
	args.block_bytes = (int64) pc_guc_block_size_kb * 1024;
	args.idle_seconds = pc_guc_idle_timeout_s;
	args.max_abandoned = pc_guc_max_abandoned;
	args.file_folder = PC_SET_OR_NULL(pc_guc_file_folder);
	args.key_file = PC_SET_OR_NULL(pc_guc_key_file);
	args.ca_file = PC_SET_OR_NULL(pc_guc_ca_file);
	args.allowed_hosts = pc_guc_allowed_hosts;

	pc_block_signals(&saved);
	rc = library.unmasked_start(&args, &event_fd, &err);
	pc_restore_signals(&saved);

	/* The threads run: they are stopped at exit even if the start failed halfway. */
	on_shmem_exit(stop_at_exit, (Datum) 0);
	if (rc != PC_OK)
	{
		loaded = true;			/* for pc_throw, which frees through the library */
		PG_TRY();
		{
			pc_throw(&err);
		}
		PG_FINALLY();
		{
			loaded = false;
		}
		PG_END_TRY();
	}
	pc_progress_init(event_fd);
}

/*
 * Runs after the transaction was aborted (before_shmem_exit) and before
 * shared memory is left, so whatever the abort still ends finds the library
 * alive.
 */
static void
stop_at_exit(int code, Datum arg)
{
	sigset_t	saved;

	if (stopped)
		return;
	stopped = true;
	pc_block_signals(&saved);
	library.unmasked_stop();
	pc_restore_signals(&saved);
	on_exit(leave, NULL);
}

/*
 * The last handler registered is exit's first to call.  Those of libraries
 * (OpenSSL's frees what every connect uses) must not run while a thread may
 * still be inside a driver: it would crash, and with it the instance.
 * PostgreSQL's own callbacks have all run by now.
 */
static void
leave(int status, void *arg)
{
	_exit(status);
}

static char *
library_path(void)
{
	const char *configured = pc_guc_library_path;
	const char *libdir = "$libdir";

	if (strncmp(configured, libdir, strlen(libdir)) == 0)
		return psprintf("%s%s", pkglib_path, configured + strlen(libdir));
	return pstrdup(configured);
}
