/*
 * spoolfile.c: the audit spool as a whole, written by the main worker alone:
 * finds where it ended, empties the ring into it, removes what was shipped.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "lib/stringinfo.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "portcullis.h"
#include "shmem.h"
#include "spoolfile.h"
#include "worker.h"

#define BATCH_BYTES		(1024 * 1024)

static pc_place place;

/* ---- recovery ------------------------------------------------------------ */

static void
make_directory(void)
{
	char		path[MAXPGPATH];

	strlcpy(path, pc_spool_directory(), sizeof(path));
	if (pg_mkdir_p(path, pg_dir_create_mode) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create the audit spool \"%s\": %m", pc_spool_directory())));
}

/* Finds the segments on disk: how many bytes, and the newest. */
static uint64
newest_segment(uint64 *bytes)
{
	DIR		   *dir = AllocateDir(pc_spool_directory());
	struct dirent *entry;
	struct stat st;
	uint64		newest = 0;

	*bytes = 0;
	while ((entry = ReadDir(dir, pc_spool_directory())) != NULL)
	{
		uint64		number = pc_segment_of_name(entry->d_name);

		if (number == 0 || stat(pc_segment_path(number), &st) != 0)
			continue;
		*bytes += st.st_size;
		newest = Max(newest, number);
	}
	FreeDir(dir);
	return newest;
}

/* Where the segments do not reach as far as the kept end of the chain, that counts; answers its segment. */
static uint64
continue_from_head(void)
{
	pc_place	head;
	uint64		segment;

	if (!pc_chain_read_head(&segment, &head))
	{
		(void) pc_chain_write_head(0, &place);
		return 0;
	}
	if (head.seq > place.seq)
		place = head;
	return segment;
}

void
pc_spoolfile_recover(void)
{
	uint64		bytes;
	uint64		newest;
	bool		some = false;

	pc_chain_read_key();
	memset(&place, 0, sizeof(place));
	make_directory();
	newest = newest_segment(&bytes);
	for (uint64 number = newest; number > 0 && !some; number--)
	{
		struct stat st;

		if (stat(pc_segment_path(number), &st) != 0)
			break;
		bytes -= pc_segment_recover(number, &place, &some);
	}
	newest = Max(newest, continue_from_head());
	pc_quota_recount();
	pc_segment_follow(newest);
	pg_atomic_write_u64(&pc_shm->spool_bytes, bytes);
	pg_atomic_write_u64(&pc_shm->spool_segment, newest + 1);
	pg_atomic_write_u64(&pc_shm->spool_offset, 0);
	pg_atomic_write_u64(&pc_shm->spool_seq, place.seq);
}

/* ---- writing --------------------------------------------------------------- */

static void
tell_failure(const char *what, uint64 number, int error)
{
	char		why[PC_ERROR_MAX];

	errno = error;
	snprintf(why, sizeof(why), "%s \"%s\": %s", what, pc_segment_path(number), strerror(error));
	LWLockAcquire(pc_shm->ring_lock, LW_EXCLUSIVE);
	strlcpy(pc_shm->spool_error, why, sizeof(pc_shm->spool_error));
	LWLockRelease(pc_shm->ring_lock);
	if (pg_atomic_exchange_u32(&pc_shm->spool_failed, error != 0 ? error : EIO) == 0)
		ereport(LOG,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("portcullis refuses statements: %s", why),
				 errhint("It tries a new segment each second.")));
	ConditionVariableBroadcast(&pc_shm->ring_moved);
}

static bool
all_shipped(void)
{
	return pg_atomic_read_u64(&pc_shm->shipped_segment) == pg_atomic_read_u64(&pc_shm->spool_segment) &&
		pg_atomic_read_u64(&pc_shm->shipped_offset) == pg_atomic_read_u64(&pc_shm->spool_offset);
}

/*
 * Makes room where there is none: the last segment otherwise stays, for its
 * last line says where the chain goes on.  Has it freed anything?
 */
static bool
retire_shipped(void)
{
	const char *path = pc_segment_path(pc_segment_number());
	struct stat st;

	if (!all_shipped() || (pc_segment_is_open() && pc_segment_end() == 0))
		return false;
	pc_segment_close();
	if (stat(path, &st) != 0 || st.st_size == 0 ||
		!pc_chain_write_head(pc_segment_number(), &place) || unlink(path) != 0)
		return false;
	pg_atomic_fetch_sub_u64(&pc_shm->spool_bytes, st.st_size);
	return true;
}

/* Lines of the records from *at on, at most a batch; moves *at and *next on. */
static void
compose_batch(StringInfo lines, uint64 *at, uint64 head, pc_place *next)
{
	while (*at < head && lines->len < BATCH_BYTES)
	{
		pc_ring_record header;
		char	   *record;

		pc_ring_read(*at, &header, sizeof(header));
		record = palloc(header.length + 1);
		pc_ring_read(*at + sizeof(header), record, header.length);
		for (uint32 i = 0; i < header.length; i++)
			if (record[i] == '\n' || record[i] == '\0')
				record[i] = ' ';
		pc_chain_line(lines, next, record, header.length);
		pfree(record);
		*at += PC_RING_SPACE(header.length);
	}
}

/* The batch is durable: whoever waits for it may go on. */
static void
commit_batch(uint64 from, uint64 to, size_t bytes, const pc_place *next)
{
	place = *next;
	pc_quota_spooled(pc_segment_number(), from, to, pc_segment_end());
	pg_atomic_fetch_add_u64(&pc_shm->spool_bytes, bytes);
	pg_atomic_write_u64(&pc_shm->spool_seq, place.seq);
	pg_atomic_write_u64(&pc_shm->spool_segment, pc_segment_number());
	pg_atomic_write_u64(&pc_shm->spool_offset, pc_segment_end());
	if (pg_atomic_exchange_u32(&pc_shm->spool_failed, 0) != 0)
		ereport(LOG, (errmsg("portcullis writes the audit spool again")));
	pg_atomic_write_u64(&pc_shm->ring_synced, to);
	ConditionVariableBroadcast(&pc_shm->ring_moved);
}

static uint64
ring_head(void)
{
	uint64		head;

	LWLockAcquire(pc_shm->ring_lock, LW_SHARED);
	head = pc_shm->ring_head;
	LWLockRelease(pc_shm->ring_lock);
	return head;
}

/* Do records wait that can be written? */
bool
pc_spoolfile_pending(void)
{
	return pg_atomic_read_u32(&pc_shm->spool_failed) == 0 &&
		pg_atomic_read_u64(&pc_shm->ring_synced) < ring_head();
}

bool
pc_spoolfile_flush(void)
{
	static StringInfoData lines = {0};
	uint64		from;
	uint64		head;

	if (lines.data == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		initStringInfo(&lines);
		MemoryContextSwitchTo(old);
	}
	while ((from = pg_atomic_read_u64(&pc_shm->ring_synced)) < (head = ring_head()))
	{
		pc_place	next = place;
		uint64		to = from;

		if (pc_segment_end() >= PC_SEGMENT_BYTES)
			pc_segment_close();
		if (!pc_segment_is_open() && !pc_segment_open())
		{
			tell_failure("could not create the audit spool segment", pc_segment_number() + 1, errno);
			return false;
		}
		resetStringInfo(&lines);
		compose_batch(&lines, &to, head, &next);
		if (!pc_segment_append(lines.data, lines.len))
		{
			int			error = errno;
			uint64		number = pc_segment_number();

			pc_segment_abandon();
			if (retire_shipped())
				continue;
			tell_failure("could not write the audit spool segment", number, error);
			return false;
		}
		commit_batch(from, to, lines.len, &next);
	}
	return true;
}

/* ---- removal ------------------------------------------------------------------ */

void
pc_spoolfile_shipped(uint64 segment, uint64 offset)
{
	static uint64 removed_below = 0;
	DIR		   *dir;
	struct dirent *entry;
	struct stat st;

	/* The daemon cannot have shipped what was never synced. */
	if (segment > pc_segment_number() + 1 ||
		(pc_segment_is_open() && segment == pc_segment_number() && offset > pc_segment_end()))
	{
		ereport(LOG, (errmsg("the node daemon claims to have shipped audit records that do not exist")));
		return;
	}
	pc_quota_shipped(segment, offset);
	pg_atomic_write_u64(&pc_shm->shipped_segment, segment);
	pg_atomic_write_u64(&pc_shm->shipped_offset, offset);
	if (pg_atomic_read_u32(&pc_shm->spool_failed) != 0 ||
		pg_atomic_read_u64(&pc_shm->spool_bytes) >= (uint64) pc_guc_audit_spool_mb * 1024 * 1024)
		(void) retire_shipped();
	if (segment <= removed_below)
		return;
	dir = AllocateDir(pc_spool_directory());
	while ((entry = ReadDirExtended(dir, pc_spool_directory(), LOG)) != NULL)
	{
		uint64		number = pc_segment_of_name(entry->d_name);

		if (number == 0 || number >= segment || number == pc_segment_number() ||
			stat(pc_segment_path(number), &st) != 0)
			continue;
		if (unlink(pc_segment_path(number)) == 0)
			pg_atomic_fetch_sub_u64(&pc_shm->spool_bytes, st.st_size);
		else
			ereport(LOG, (errmsg("could not remove \"%s\": %m", pc_segment_path(number))));
	}
	FreeDir(dir);
	removed_below = Min(segment, pc_segment_number());	/* the last one had to stay */
}
