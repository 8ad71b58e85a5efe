/*
 * diskfaults.c: preloaded into a server, makes the disk below the audit spool
 * misbehave as the files of the folder PORTCULLIS_FAULTS say:
 *
 *	budget		so many bytes fit into the folder, then ENOSPC
 *	write		errno of every write
 *	short		a write takes so many bytes, the next one fails with EIO
 *	sync		errno of every fsync and fdatasync
 *	hang		a sync waits while this file exists, and makes the file hanging
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPOOL "/portcullis/spool"

static const char *
fault_path(const char *name, char *path, size_t size)
{
	const char *folder = getenv("PORTCULLIS_FAULTS");

	if (folder == NULL)
		return NULL;
	snprintf(path, size, "%s/%s", folder, name);
	return path;
}

static int
fault(const char *name, long *value)
{
	char		path[4096];
	char		text[32] = {0};
	int			saved = errno;
	int			fd;

	if (fault_path(name, path, sizeof(path)) == NULL || (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
	{
		errno = saved;
		return 0;
	}
	*value = read(fd, text, sizeof(text) - 1) > 0 ? atol(text) : 0;
	close(fd);
	errno = saved;
	return 1;
}

/* Is the descriptor the spool or a file in it?  Answers the folder. */
static int
in_spool(int fd, char *folder, size_t size)
{
	char		link[64];
	char	   *at;
	ssize_t		n;
	int			saved = errno;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, folder, size - 1);
	errno = saved;
	if (n < 0)
		return 0;
	folder[n] = '\0';
	if ((at = strstr(folder, SPOOL)) == NULL)
		return 0;
	at[strlen(SPOOL)] = '\0';
	return 1;
}

static long
bytes_below(const char *folder)
{
	DIR		   *dir = opendir(folder);
	struct dirent *entry;
	struct stat st;
	long		sum = 0;

	if (dir == NULL)
		return 0;
	while ((entry = readdir(dir)) != NULL)
		if (fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
			sum += st.st_size;
	closedir(dir);
	return sum;
}

/* How much of a write that makes the file so much longer is done; -1 with errno: none. */
static ssize_t
allowed(const char *folder, size_t n, size_t longer)
{
	static int	was_short = 0;
	long		value;

	if (fault("write", &value))
	{
		errno = (int) value;
		return -1;
	}
	if (fault("short", &value))
	{
		was_short = !was_short;
		if (was_short)
			return (long) n < value ? (long) n : value;
		errno = EIO;
		return -1;
	}
	if (fault("budget", &value) && longer > 0)
	{
		long		left = value - bytes_below(folder);

		if (left < 0)
			left = 0;
		if ((long) longer > left)
			n -= longer - left;
		if (n == 0)
		{
			errno = ENOSPC;
			return -1;
		}
	}
	return n;
}

ssize_t
write(int fd, const void *bytes, size_t n)
{
	char		folder[4096];
	ssize_t		some;

	if (getenv("PORTCULLIS_FAULTS") == NULL || !in_spool(fd, folder, sizeof(folder)))
		return syscall(SYS_write, fd, bytes, n);
	some = allowed(folder, n, n);
	return some < 0 ? some : syscall(SYS_write, fd, bytes, (size_t) some);
}

ssize_t
pwrite64(int fd, const void *bytes, size_t n, off_t offset)
{
	char		folder[4096];
	struct stat st;
	ssize_t		some;

	if (getenv("PORTCULLIS_FAULTS") == NULL || !in_spool(fd, folder, sizeof(folder)) || fstat(fd, &st) != 0)
		return syscall(SYS_pwrite64, fd, bytes, n, offset);
	some = offset + (off_t) n - st.st_size;
	some = allowed(folder, n, some < 0 ? 0 : some < (ssize_t) n ? some : (ssize_t) n);
	return some < 0 ? some : syscall(SYS_pwrite64, fd, bytes, (size_t) some, offset);
}

ssize_t
pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
	return pwrite64(fd, bytes, n, offset);
}

static void
hang_while_told(void)
{
	char		path[4096];
	struct timespec nap = {0, 5000000};
	long		value;

	while (fault("hang", &value))
	{
		close(open(fault_path("hanging", path, sizeof(path)), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
		nanosleep(&nap, NULL);
	}
}

static int
faulty_sync(long number, int fd)
{
	char		folder[4096];
	long		value;

	if (getenv("PORTCULLIS_FAULTS") != NULL && in_spool(fd, folder, sizeof(folder)))
	{
		hang_while_told();
		if (fault("sync", &value))
		{
			errno = (int) value;
			return -1;
		}
	}
	return syscall(number, fd);
}

int
fsync(int fd)
{
	return faulty_sync(SYS_fsync, fd);
}

int
fdatasync(int fd)
{
	return faulty_sync(SYS_fdatasync, fd);
}
