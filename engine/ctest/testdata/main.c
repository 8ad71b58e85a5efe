/*
 * main.c: uses portcullis_engine.so as the shim does, without PostgreSQL.
 *
 *		main ENGINE.so FOLDER DATABASE
 *
 * DATABASE is a SQLite file in FOLDER with a table t(a integer, b text) of
 * 100000 rows.  Prints what failed; exits with 0 if nothing did.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../engine.h"

static int	failures = 0;
static int	event_fd = -1;

#define CHECK(what, ok) \
	do { \
		if (!(ok)) \
		{ \
			printf("line %d: %s\n", __LINE__, what); \
			failures++; \
		} \
	} while (0)

#define FUNCTION(name) static __typeof__(pc_##name) *p_##name
FUNCTION(abi);
FUNCTION(start);
FUNCTION(error_free);
FUNCTION(validate_options);
FUNCTION(check_driver);
FUNCTION(scan_begin);
FUNCTION(scan_sql);
FUNCTION(scan_start);
FUNCTION(scan_next);
FUNCTION(scan_end);
FUNCTION(ticket_result);
FUNCTION(ticket_cancel);
FUNCTION(rows_free);
FUNCTION(count);
FUNCTION(connections);
FUNCTION(transaction_end);
FUNCTION(source_changed);
FUNCTION(disconnect);
FUNCTION(stop);
FUNCTION(fault);
FUNCTION(seal);

static void
load(const char *path)
{
	void	   *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (handle == NULL)
	{
		printf("%s\n", dlerror());
		exit(2);
	}
#define RESOLVE(name) \
	do { \
		*(void **) &p_##name = dlsym(handle, "pc_" #name); \
		CHECK("missing pc_" #name, p_##name != NULL); \
	} while (0)
	RESOLVE(abi);
	RESOLVE(start);
	RESOLVE(error_free);
	RESOLVE(validate_options);
	RESOLVE(check_driver);
	RESOLVE(scan_begin);
	RESOLVE(scan_sql);
	RESOLVE(scan_start);
	RESOLVE(scan_next);
	RESOLVE(scan_end);
	RESOLVE(ticket_result);
	RESOLVE(ticket_cancel);
	RESOLVE(rows_free);
	RESOLVE(count);
	RESOLVE(connections);
	RESOLVE(transaction_end);
	RESOLVE(source_changed);
	RESOLVE(disconnect);
	RESOLVE(stop);
	RESOLVE(fault);
	RESOLVE(seal);
	if (failures > 0)
		exit(1);
	CHECK("symbols of others are visible", dlsym(handle, "pcgo_start") == NULL && dlsym(handle, "crosscall2") == NULL);
}

static void
on_signal(int sig)
{
	(void) sig;
}

/* Handlers as a backend has them. */
static void
set_handlers(struct sigaction *seen)
{
	for (int sig = 1; sig < NSIG; sig++)
	{
		struct sigaction action;

		if (sig == SIGKILL || sig == SIGSTOP || sig == 32 || sig == 33)
			continue;
		memset(&action, 0, sizeof(action));
		action.sa_flags = sig == SIGCHLD ? SA_NOCLDSTOP : SA_RESTART;
		action.sa_handler = sig == SIGPIPE ? SIG_IGN : sig == SIGSEGV || sig == SIGBUS || sig == SIGURG ? SIG_DFL : on_signal;
		sigaction(sig, &action, NULL);
		sigaction(sig, NULL, &seen[sig]);
	}
}

static void
check_handlers(const struct sigaction *seen, const char *when)
{
	for (int sig = 1; sig < NSIG; sig++)
	{
		struct sigaction now;

		if (sig == SIGKILL || sig == SIGSTOP || sig == SIGSEGV || sig == SIGBUS || sig == 32 || sig == 33)
			continue;
		sigaction(sig, NULL, &now);
		if (now.sa_handler != seen[sig].sa_handler || now.sa_flags != seen[sig].sa_flags)
		{
			printf("%s: signal %d (%s) has another handler or flags\n", when, sig, strsignal(sig));
			failures++;
		}
	}
}

/* Every thread but this one must block what PostgreSQL waits for. */
static void
check_threads(const char *when)
{
	static const int needed[] = {SIGURG, SIGUSR1, SIGUSR2, SIGINT, SIGTERM, SIGHUP, SIGALRM, SIGQUIT, SIGPIPE};
	DIR		   *tasks = opendir("/proc/self/task");
	struct dirent *task;

	while ((task = readdir(tasks)) != NULL)
	{
		char		path[300];
		char		line[256];
		FILE	   *status;

		if (task->d_name[0] == '.' || atoi(task->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", task->d_name);
		status = fopen(path, "r");
		while (status != NULL && fgets(line, sizeof(line), status) != NULL)
		{
			unsigned long long mask;

			if (sscanf(line, "SigBlk: %llx", &mask) != 1)
				continue;
			for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
				if ((mask & (1ULL << (needed[i] - 1))) == 0)
				{
					printf("%s: thread %s would receive %s\n", when, task->d_name, strsignal(needed[i]));
					failures++;
				}
		}
		if (status != NULL)
			fclose(status);
	}
	closedir(tasks);
}

/* Waits for progress; 0 after ten seconds without any. */
static int
progress(void)
{
	struct pollfd p = {.fd = event_fd,.events = POLLIN};
	uint64_t	n;

	if (poll(&p, 1, 10000) != 1)
		return 0;
	return read(event_fd, &n, sizeof(n)) == sizeof(n);
}

static void
start(const char *folder)
{
	pc_start_args args = {.pg_major = 15,.go_max_procs = 2,.memory_limit = 64 << 20,.block_bytes = 1 << 20,
	.idle_seconds = 60,.max_abandoned = 4,.file_folder = folder};
	pc_error	err = {0};

	CHECK("another ABI", p_abi() == PC_ABI);
	CHECK("start failed", p_start(&args, &event_fd, &err) == PC_OK);
	CHECK("started twice", p_start(&args, &event_fd, &err) == PC_FAILED);
	CHECK("no SQLSTATE", strcmp(err.sqlstate, "XX000") == 0);
	p_error_free(&err);
	CHECK("error_free leaves something", err.message == NULL);
}

static void
panics(void)
{
	pc_error	err = {0};
	pc_rows		rows = {0};
	uint64_t	ticket = 0;
	int			rc;

	CHECK("panic in a call", p_fault('p', &ticket, &err) == PC_FAILED);
	CHECK("panic's SQLSTATE", strcmp(err.sqlstate, "XX000") == 0 && strstr(err.message, "internal error in the portcullis library"));
	p_error_free(&err);
	CHECK("panic in a goroutine", p_fault('g', &ticket, &err) == PC_OK);
	while ((rc = p_ticket_result(ticket, &rows, &err)) == PC_WAIT && progress())
		;
	CHECK("goroutine's panic", rc == PC_FAILED && strcmp(err.sqlstate, "XX000") == 0);
	p_error_free(&err);
	CHECK("unknown fault", p_fault('x', &ticket, &err) == PC_FAILED && strcmp(err.sqlstate, "22023") == 0);
	p_error_free(&err);
	p_ticket_cancel(ticket);
	CHECK("freed ticket", p_ticket_result(ticket, &rows, &err) == PC_FAILED);
	p_error_free(&err);
	CHECK("bad pointer", p_scan_begin(NULL, &ticket, &err) == PC_FAILED && strcmp(err.sqlstate, "XX000") == 0);
	p_error_free(&err);
}

static pc_source *
source(const char *database)
{
	static pc_option options[2];
	static pc_source s;

	options[0] = (pc_option) {"driver", "SQLite3"};
	options[1] = (pc_option) {"database", database};
	s = (pc_source) {.server_oid = 1,.server_name = "lite",.options = options,.noptions = 2};
	return &s;
}

static pc_table *
table(void)
{
	static pc_attribute attributes[] = {
		{.attnum = 1,.type_oid = 20,.typmod = -1,.name = "a",.remote_name = "a",.type_name = "bigint",.base_type = "int8"},
		{.attnum = 2,.type_oid = 25,.typmod = -1,.collation = 100,.name = "b",.remote_name = "b",.type_name = "text",.base_type = "text",.collation_kind = 'd'},
	};
	static pc_table t = {.relid = 5,.nattributes = 2,.local_schema = "public",.local_name = "t",.remote_name = "t",.attributes = attributes};

	return &t;
}

static uint64_t
begin(const char *database)
{
	static const int32_t wanted[] = {2, 1};
	static pc_session session = {.role = "postgres",.database = "x",.node = "n"};
	pc_scan_request request = {.session = &session,.source = source(database),.table = table(),.wanted = wanted,.nwanted = 2,
	.limit = -1,.query_id = 7};
	pc_error	err = {0};
	uint64_t	scan = 0;

	CHECK("scan_begin", p_scan_begin(&request, &scan, &err) == PC_OK);
	if (scan == 0)
	{
		printf("%s\n", err.message);
		exit(1);
	}
	return scan;
}

static int64_t
read_rows(uint64_t scan, int64_t *sum)
{
	int64_t		rows = 0;
	pc_error	err = {0};
	pc_block   *block;

	for (;;)
	{
		int			rc = p_scan_next(scan, &block, &err);

		if (rc == PC_WAIT)
		{
			if (progress())
				continue;
			CHECK("no progress", 0);
			return rows;
		}
		if (rc == PC_END)
			return rows;
		if (rc == PC_FAILED)
		{
			printf("%s %s (%s)\n", err.sqlstate, err.message, err.detail ? err.detail : "");
			failures++;
			p_error_free(&err);
			return rows;
		}
		CHECK("columns", block->ncols == 2 && block->cols[1].kind == PC_KIND_INT64 && block->cols[0].kind == PC_KIND_TEXT);
		for (int i = 0; i < block->nrows; i++)
		{
			int			row = block->rows ? block->rows[i] : i;

			*sum += ((int64_t *) block->cols[1].data)[row];
			CHECK("text is empty", block->cols[0].ind[row] > 0);
		}
		rows += block->nrows;
	}
}

static double
milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec * 1e3 + (double) t.tv_nsec / 1e6;
}

static void
scans(const char *database)
{
	uint64_t	scan = begin(database);
	int64_t		sum = 0;
	pc_error	err = {0};
	pc_scan_stats stats = {0};
	pc_block   *block;
	double		began;

	CHECK("sql", p_scan_sql(scan) != NULL && strstr(p_scan_sql(scan), "portcullis query=7") != NULL);
	CHECK("sql moved", p_scan_sql(scan) == p_scan_sql(scan));
	CHECK("read before start", p_scan_next(scan, &block, &err) == PC_FAILED);
	p_error_free(&err);
	for (int pass = 0; pass < 2; pass++)
	{
		sum = 0;
		CHECK("start", p_scan_start(scan, NULL, 0, &err) == PC_OK);
		CHECK("rows", read_rows(scan, &sum) == 100000);
		CHECK("sum", sum == (int64_t) 100000 * 99999 / 2);
		CHECK("end stays", p_scan_next(scan, &block, &err) == PC_END);
	}
	p_scan_end(scan, &stats);
	CHECK("stats", stats.rows == 200000 && stats.bytes > 2000000);
	p_scan_end(scan, NULL);
	CHECK("ended scan", p_scan_next(scan, &block, &err) == PC_FAILED);
	p_error_free(&err);

	for (int i = 0; i < 50; i++)	/* given up in mid-fetch, at any moment */
	{
		scan = begin(database);
		CHECK("start", p_scan_start(scan, NULL, 0, &err) == PC_OK);
		if (i % 2 == 0)
			progress();
		began = milliseconds();
		p_scan_end(scan, NULL);
		CHECK("ending took long", milliseconds() - began < 50);
		if (i % 7 == 0)
			p_transaction_end(i % 2);
	}
	p_transaction_end(1);
}

static void
other_work(const char *database)
{
	pc_error	err = {0};
	pc_rows		rows = {0};
	uint64_t	ticket = 0;
	int			rc;
	char	   *sealed = NULL;
	pc_option	wrong = {"drvier", "x"};

	CHECK("count", p_count(source(database), table(), 1, &ticket, &err) == PC_OK);
	while ((rc = p_ticket_result(ticket, &rows, &err)) == PC_WAIT && progress())
		;
	CHECK("counted", rc == PC_OK && rows.nrows == 3 && rows.ncols == 3 && strcmp(rows.cells[0], "100000") == 0);
	CHECK("cells that are missing are NULL", rc == PC_OK && rows.cells[1] == NULL);
	p_rows_free(&rows);
	CHECK("connections", p_connections(&rows, &err) == PC_OK && rows.nrows >= 1 && rows.ncols == 7);
	p_rows_free(&rows);
	CHECK("wrong option", p_validate_options('t', &wrong, 1, &err) == PC_FAILED && strcmp(err.sqlstate, "HV00D") == 0 && err.hint != NULL);
	p_error_free(&err);
	CHECK("seal without key", p_seal("x", &sealed, &err) == PC_FAILED && sealed == NULL);
	p_error_free(&err);
	p_transaction_end(1);
	(void) p_disconnect(0);
}

/* Private memory of the process, kB. */
static long
private_kb(void)
{
	FILE	   *f = fopen("/proc/self/smaps_rollup", "r");
	char		line[256];
	long		sum = 0,
				n;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "Private_Clean: %ld", &n) == 1 || sscanf(line, "Private_Dirty: %ld", &n) == 1)
			sum += n;
	if (f != NULL)
		fclose(f);
	return sum;
}

int
main(int argc, char **argv)
{
	struct sigaction seen[NSIG];
	sigset_t	all,
				before;
	long		memory = private_kb();
	double		began = milliseconds();

	if (argc != 4)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	set_handlers(seen);
	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigprocmask(SIG_SETMASK, &all, &before);

	load(argv[1]);
	start(argv[2]);
	fprintf(stderr, "loaded in %.1f ms, %ld kB private\n", milliseconds() - began, private_kb() - memory);
	check_handlers(seen, "after the start");
	check_threads("after the start");
	panics();
	scans(argv[3]);
	fprintf(stderr, "after scans %ld kB private\n", private_kb() - memory);
	other_work(argv[3]);
	check_handlers(seen, "at the end");
	check_threads("at the end");
	began = milliseconds();
	p_stop();
	CHECK("stop took long", milliseconds() - began < 250);
	fprintf(stderr, "at the end %ld kB private\n", private_kb() - memory);
	return failures > 0;
}
