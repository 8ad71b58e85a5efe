/*
 * daemon.c: the process `portcullis node` beside the instance: started with
 * one end of a socket pair as descriptor 3, started again when it ends.
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "miscadmin.h"
#include "port.h"

#include "portcullis.h"
#include "shmem.h"
#include "signals.h"
#include "worker.h"

#define BACKOFF_MIN_MS	500
#define BACKOFF_MAX_MS	30000
#define STEADY_MS		60000	/* who ran for so long starts again without delay */
#define STOP_MS			2000	/* between SIGTERM and SIGKILL */
#define CONTROL_FD		3
#define NEVER			UINT64_MAX

static pid_t daemon_pid = 0;
static int	daemon_socket = -1;
static uint64 started_at = 0;
static uint64 start_not_before = 0;
static uint64 backoff = BACKOFF_MIN_MS;

int
pc_daemon_socket(void)
{
	return daemon_socket;
}

static void
publish(pid_t pid, const char *error)
{
	LWLockAcquire(pc_shm->lock, LW_EXCLUSIVE);
	pc_shm->daemon_pid = pid;
	if (pid != 0)
		pc_shm->daemon_starts++;
	if (error != NULL)
		strlcpy(pc_shm->daemon_error, error, sizeof(pc_shm->daemon_error));
	LWLockRelease(pc_shm->lock);
}

/* A path is taken as it is; a name is looked for beside the server, beside the module, then on PATH. */
static const char *
binary_path(void)
{
	static char path[MAXPGPATH];

	if (strchr(pc_guc_node_binary, '/') != NULL)
		return pc_guc_node_binary;
	strlcpy(path, my_exec_path, sizeof(path));
	get_parent_directory(path);
	join_path_components(path, path, pc_guc_node_binary);
	if (access(path, X_OK) == 0)
		return path;
	join_path_components(path, pkglib_path, pc_guc_node_binary);
	return access(path, X_OK) == 0 ? path : pc_guc_node_binary;
}

/* In the child: nothing of PostgreSQL may be called any more. */
static void
become_daemon(const char *path, char *const argv[], int control)
{
	sigset_t	none;
	long		limit = sysconf(_SC_OPEN_MAX);

	/* A group of its own: the postmaster signals the worker's. */
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (control != CONTROL_FD && dup2(control, CONTROL_FD) < 0)
		_exit(127);
	fcntl(CONTROL_FD, F_SETFD, 0);
	if (limit < 0 || limit > 65536)
		limit = 65536;
	for (int fd = CONTROL_FD + 1; fd < limit; fd++)
		close(fd);
	execvp(path, argv);
	_exit(127);
}

static void
start(void)
{
	const char *path = binary_path();
	char	   *argv[14];
	int			n = 0;
	int			pair[2];
	sigset_t	saved;
	pid_t		pid;

	argv[n++] = pstrdup(path);
	argv[n++] = "node";
	argv[n++] = "--control-fd";
	argv[n++] = "3";
	argv[n++] = "--spool";
	argv[n++] = pstrdup(pc_spool_directory());
	/* portcullis.lease, which may change while it runs, is applied to what it tells. */
	argv[n++] = "--lease";
	argv[n++] = psprintf("%dms", PC_LEASE_MAX_MS);
	if (pc_guc_key_file != NULL && pc_guc_key_file[0] != '\0')
	{
		argv[n++] = "--key-file";
		argv[n++] = pc_guc_key_file;
	}
	if (pc_guc_ca_file != NULL && pc_guc_ca_file[0] != '\0')
	{
		argv[n++] = "--ca-file";
		argv[n++] = pc_guc_ca_file;
	}
	argv[n] = NULL;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		ereport(ERROR, (errcode_for_socket_access(), errmsg("could not create a socket pair: %m")));
	fflush(NULL);
	pc_block_signals(&saved);
	pid = fork();
	if (pid == 0)
		become_daemon(path, argv, pair[1]);
	pc_restore_signals(&saved);
	close(pair[1]);
	if (pid < 0)
	{
		close(pair[0]);
		ereport(LOG, (errmsg("could not start the node daemon: %m")));
		return;
	}
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	daemon_pid = pid;
	daemon_socket = pair[0];
	started_at = pc_clock_ms();
	pc_control_reset();
	publish(pid, NULL);
}

/* Waits for the child's end, at most for the given time; false: it still runs. */
static bool
reap(uint64 patience_ms, int *status)
{
	uint64		until = pc_clock_ms() + patience_ms;

	for (;;)
	{
		pid_t		pid = waitpid(daemon_pid, status, WNOHANG);

		if (pid == daemon_pid || (pid < 0 && errno != EINTR))
			return true;
		if (pc_clock_ms() >= until)
			return false;
		pg_usleep(10000L);
	}
}

static void
forget_daemon(void)
{
	if (daemon_socket >= 0)
		close(daemon_socket);
	daemon_socket = -1;
	daemon_pid = 0;
}

static void
schedule_restart(const char *why)
{
	uint64		now = pc_clock_ms();

	if (now - started_at >= STEADY_MS)
		backoff = BACKOFF_MIN_MS;
	start_not_before = now + backoff;
	backoff = Min(2 * backoff, BACKOFF_MAX_MS);
	publish(0, why);
	ereport(LOG,
			(errmsg("the node daemon ended: %s", why),
			 errhint("It is started again in %llu ms. portcullis.node_binary is \"%s\".",
					 (unsigned long long) (start_not_before - now), pc_guc_node_binary)));
}

static char *
describe_end(int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return psprintf("\"%s\" could not be executed", binary_path());
	if (WIFEXITED(status))
		return psprintf("exit code %d", WEXITSTATUS(status));
	return psprintf("signal %d", WTERMSIG(status));
}

/* Closing the socket ends a sound daemon; another one is made to. */
void
pc_daemon_stop(void)
{
	int			status = 0;

	if (daemon_pid == 0)
		return;
	close(daemon_socket);
	daemon_socket = -1;
	kill(daemon_pid, SIGTERM);
	if (!reap(STOP_MS, &status))
	{
		kill(daemon_pid, SIGKILL);
		(void) reap(STOP_MS, &status);
	}
	forget_daemon();
	publish(0, NULL);
}

void
pc_daemon_lost(const char *why)
{
	pc_daemon_stop();
	schedule_restart(why);
}

uint64
pc_daemon_tend(void)
{
	int			status = 0;

	if (daemon_pid != 0)
	{
		if (!reap(0, &status))
			return NEVER;
		forget_daemon();
		schedule_restart(describe_end(status));
	}
	if (!pc_configured())
		return NEVER;
	if (pc_clock_ms() >= start_not_before)
		start();
	if (daemon_pid != 0)
		return NEVER;
	return Max(start_not_before, pc_clock_ms() + BACKOFF_MIN_MS) - pc_clock_ms();
}
