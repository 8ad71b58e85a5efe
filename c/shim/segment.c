/*
 * segment.c: the file of one segment of the audit spool.
 *
 * A file that grows with each record has its size written with each sync,
 * and on a busy disk the sync then waits for what others have written.  So
 * it is filled with zeros ahead of its lines, which none of its readers takes
 * for a line, and cut to the lines when nothing more is written to it.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"

#include "portcullis.h"
#include "spoolfile.h"
#include "worker.h"

#define AHEAD_BYTES		(256 * 1024)
#define ZERO_BYTES		(64 * 1024)

static int	fd = -1;
static uint64 number = 0;
static uint64 end = 0;
static uint64 size = 0;			/* of the file: zeros from end on */
static bool ahead = true;		/* false: there is no space for zeros */

const char *
pc_spool_directory(void)
{
	static char path[MAXPGPATH];

	if (path[0] == '\0')
		snprintf(path, sizeof(path), "%s/portcullis/spool", DataDir);
	return path;
}

const char *
pc_segment_path(uint64 which)
{
	static char path[MAXPGPATH + 32];

	snprintf(path, sizeof(path), "%s/%08llu.log", pc_spool_directory(), (unsigned long long) which);
	return path;
}

uint64
pc_segment_of_name(const char *name)
{
	size_t		digits = strspn(name, "0123456789");

	return digits >= 8 && digits < 19 && strcmp(name + digits, ".log") == 0 ? strtoull(name, NULL, 10) : 0;
}

uint64
pc_segment_number(void)
{
	return number;
}

uint64
pc_segment_end(void)
{
	return end;
}

bool
pc_segment_is_open(void)
{
	return fd >= 0;
}

/* ---- after a crash ---------------------------------------------------- */

/* Length of the whole lines; counts what follows them and is no zero. */
static uint64
scan(FILE *file, pc_place *at, bool *some, uint64 *torn)
{
	char	   *line = NULL;
	size_t		room = 0;
	ssize_t		n;
	uint64		good = 0;

	*some = false;
	*torn = 0;
	while ((n = getline(&line, &room, file)) > 0)
	{
		if (*torn == 0 && line[n - 1] == '\n' && pc_chain_parse(line, n, at))
		{
			good += n;
			*some = true;
			continue;
		}
		for (ssize_t i = 0; i < n; i++)
			*torn += line[i] != '\0';
		if (*torn == 0)
			break;
	}
	free(line);
	return good;
}

/* What is cut is a part of a line, which no statement has waited for successfully, and zeros. */
uint64
pc_segment_recover(uint64 which, pc_place *at, bool *some)
{
	const char *path = pc_segment_path(which);
	FILE	   *file = AllocateFile(path, PG_BINARY_R);
	struct stat st;
	uint64		good;
	uint64		torn;

	if (file == NULL || fstat(fileno(file), &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read the audit spool segment \"%s\": %m", path)));
	good = scan(file, at, some, &torn);
	FreeFile(file);
	if (torn > 0)
		ereport(LOG,
				(errmsg("cutting an unfinished record of %llu bytes off the audit spool segment \"%s\"",
						(unsigned long long) torn, path)));
	if (good < st.st_size && truncate(path, good) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not truncate the audit spool segment \"%s\": %m", path)));
	return st.st_size - good;
}

void
pc_segment_follow(uint64 newest)
{
	number = newest;
	end = size = 0;
}

/* ---- writing ------------------------------------------------------------ */

bool
pc_segment_open(void)
{
	do
	{
		number++;
		fd = BasicOpenFile(pc_segment_path(number), O_WRONLY | O_CREAT | O_EXCL | PG_BINARY);
	} while (fd < 0 && errno == EEXIST);
	if (fd < 0 || fsync_fname_ext(pc_spool_directory(), true, false, LOG) != 0)
	{
		int			error = errno;

		if (fd >= 0)
		{
			close(fd);
			(void) unlink(pc_segment_path(number));
		}
		fd = -1;
		number--;
		errno = error;
		return false;
	}
	end = size = 0;
	ahead = true;
	return true;
}

static bool
write_at(uint64 offset, const char *bytes, size_t n)
{
	while (n > 0)
	{
		ssize_t		done = pg_pwrite(fd, bytes, n, offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
		{
			errno = done == 0 ? ENOSPC : errno;
			return false;
		}
		bytes += done;
		n -= done;
		offset += done;
	}
	return true;
}

/* Zeros behind "from", where the file ends soon; without them it grows with each record. */
static void
write_ahead(uint64 from)
{
	static char zeros[ZERO_BYTES];
	uint64		to = from + AHEAD_BYTES - from % BLCKSZ;

	while (from < to)
	{
		size_t		n = Min(to - from, sizeof(zeros));

		if (!write_at(from, zeros, n))
		{
			ahead = false;
			if (ftruncate(fd, size) != 0)
				ereport(LOG, (errmsg("could not truncate \"%s\": %m", pc_segment_path(number))));
			return;
		}
		from += n;
	}
	size = to;
}

bool
pc_segment_append(const char *bytes, size_t n)
{
	uint64		after = end + n;

	if (ahead && after > size && n < AHEAD_BYTES / 4 && after < PC_SEGMENT_BYTES)
		write_ahead(after);
	if (!write_at(end, bytes, n) || pg_fdatasync(fd) != 0)
		return false;
	end = after;
	size = Max(size, end);
	return true;
}

/* Synced, so that no later segment can be there before this one has its length. */
void
pc_segment_close(void)
{
	if (fd < 0)
		return;
	if (size > end && (ftruncate(fd, end) != 0 || pg_fsync(fd) != 0))
		ereport(LOG, (errmsg("could not truncate \"%s\": %m", pc_segment_path(number))));
	close(fd);
	fd = -1;
}

/*
 * After a failed write or sync nothing is known of the file's end: it is
 * never written again.  One that holds nothing goes, for another is tried each second.
 */
void
pc_segment_abandon(void)
{
	if (end == 0)
	{
		(void) unlink(pc_segment_path(number));
		number--;
	}
	else if (ftruncate(fd, end) != 0)
		ereport(LOG, (errmsg("could not truncate \"%s\": %m", pc_segment_path(number))));
	close(fd);
	fd = -1;
}
