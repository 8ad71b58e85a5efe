/*
 * spoolfile.c: the segment files of the audit spool, written by the main
 * worker alone.
 *
 * A line is "sequence chain record": chain is HMAC-SHA-256 (SHA-256 where the
 * node has no key file) over the chain of the line before, the sequence
 * number and the record, so that a missing, changed or reordered line shows.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cryptohash.h"
#include "common/file_perm.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "portcullis.h"
#include "shmem.h"
#include "worker.h"

#define SEGMENT_BYTES	(16 * 1024 * 1024)
#define BATCH_BYTES		(1024 * 1024)
#define CHAIN_BYTES		PG_SHA256_DIGEST_LENGTH
#define CHAIN_LABEL		"portcullis audit chain"
#define HEAD_LENGTH		(20 + 1 + 20 + 1 + 2 * CHAIN_BYTES + 1)	/* "segment sequence chain", line feed */

/* What a group of neighbouring lines of one quota slot takes, until it is shipped. */
typedef struct Chunk
{
	uint64		segment;
	uint64		end;			/* offset after its last line */
	uint64		space;			/* as counted in the quota */
	pg_atomic_uint64 *quota;
} Chunk;

/* Where the chain stands. */
typedef struct Place
{
	uint64		seq;
	uint8		chain[CHAIN_BYTES];
} Place;

static int	segment_fd = -1;
static uint64 segment_number = 0;
static uint64 segment_end = 0;	/* synced */
static Place place;
static bool have_key = false;
static uint8 chain_key[CHAIN_BYTES];

static Chunk *chunks = NULL;	/* chunks[first .. first + n - 1], oldest first */
static size_t chunks_first = 0;
static size_t chunks_count = 0;
static size_t chunks_room = 0;

const char *
pc_spool_directory(void)
{
	static char path[MAXPGPATH];

	if (path[0] == '\0')
		snprintf(path, sizeof(path), "%s/portcullis/spool", DataDir);
	return path;
}

static const char *
segment_path(uint64 number)
{
	static char path[MAXPGPATH + 32];

	snprintf(path, sizeof(path), "%s/%08llu.log", pc_spool_directory(), (unsigned long long) number);
	return path;
}

/* Number of a segment file, 0 for any other name. */
static uint64
segment_of_name(const char *name)
{
	size_t		digits = strspn(name, "0123456789");

	return digits >= 8 && digits < 19 && strcmp(name + digits, ".log") == 0 ? strtoull(name, NULL, 10) : 0;
}

/* ---- the chain -------------------------------------------------------- */

static void
hmac(const uint8 *key, size_t key_length, const char *const *parts, const size_t *lengths, int n, uint8 *out)
{
	pg_hmac_ctx *ctx = pg_hmac_create(PG_SHA256);
	bool		ok = ctx != NULL && pg_hmac_init(ctx, key, key_length) >= 0;

	for (int i = 0; ok && i < n; i++)
		ok = pg_hmac_update(ctx, (const uint8 *) parts[i], lengths[i]) >= 0;
	if (!ok || pg_hmac_final(ctx, out, CHAIN_BYTES) < 0)
		elog(ERROR, "could not compute an HMAC");
	pg_hmac_free(ctx);
}

static void
digest(const char *const *parts, const size_t *lengths, int n, uint8 *out)
{
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);
	bool		ok = ctx != NULL && pg_cryptohash_init(ctx) >= 0;

	for (int i = 0; ok && i < n; i++)
		ok = pg_cryptohash_update(ctx, (const uint8 *) parts[i], lengths[i]) >= 0;
	if (!ok || pg_cryptohash_final(ctx, out, CHAIN_BYTES) < 0)
		elog(ERROR, "could not compute a SHA-256 digest");
	pg_cryptohash_free(ctx);
}

static void
read_chain_key(void)
{
	uint8		raw[256];
	const char *part = CHAIN_LABEL;
	size_t		length = strlen(CHAIN_LABEL);
	ssize_t		n;
	int			fd;

	have_key = false;
	if (pc_guc_key_file == NULL || pc_guc_key_file[0] == '\0' ||
		(fd = BasicOpenFile(pc_guc_key_file, O_RDONLY | PG_BINARY)) < 0)
		return;
	n = read(fd, raw, sizeof(raw));
	close(fd);
	if (n > 0)
	{
		hmac(raw, n, &part, &length, 1, chain_key);
		have_key = true;
	}
	explicit_bzero(raw, sizeof(raw));
}

/* Appends the next line and moves *at on. */
static void
compose_line(StringInfo out, Place *at, const char *record, size_t length)
{
	char		number[32];
	char		hex[2 * CHAIN_BYTES + 1];
	int			digits = snprintf(number, sizeof(number), "%llu ", (unsigned long long) at->seq + 1);
	const char *parts[3] = {(const char *) at->chain, number, record};
	size_t		lengths[3] = {CHAIN_BYTES, digits, length};
	uint8		next[CHAIN_BYTES];

	if (have_key)
		hmac(chain_key, sizeof(chain_key), parts, lengths, 3, next);
	else
		digest(parts, lengths, 3, next);
	memcpy(at->chain, next, CHAIN_BYTES);
	at->seq++;
	hex_encode((const char *) next, CHAIN_BYTES, hex);
	hex[2 * CHAIN_BYTES] = '\0';
	appendStringInfo(out, "%s%s ", number, hex);
	appendBinaryStringInfo(out, record, length);
	appendStringInfoChar(out, '\n');
}

/*
 * The chain's end, for when the segment that holds its last line is removed
 * to make room (retire_shipped).  The file has its size from the first day, so
 * that writing it needs no space, and is smaller than what a disk writes at once.
 */
static const char *
head_path(void)
{
	static char path[MAXPGPATH + 32];

	snprintf(path, sizeof(path), "%s/chain.head", pc_spool_directory());
	return path;
}

static bool
write_head(uint64 segment, const Place *at)
{
	char		line[HEAD_LENGTH + 1];
	char		hex[2 * CHAIN_BYTES + 1];
	int			fd = BasicOpenFile(head_path(), O_WRONLY | O_CREAT | PG_BINARY);
	bool		ok;

	hex_encode((const char *) at->chain, CHAIN_BYTES, hex);
	hex[2 * CHAIN_BYTES] = '\0';
	snprintf(line, sizeof(line), "%020llu %020llu %s\n", (unsigned long long) segment, (unsigned long long) at->seq, hex);
	ok = fd >= 0 && pg_pwrite(fd, line, HEAD_LENGTH, 0) == HEAD_LENGTH && pg_fdatasync(fd) == 0;
	if (!ok)
		ereport(LOG, (errcode_for_file_access(), errmsg("could not write \"%s\": %m", head_path())));
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool
read_head(uint64 *segment, Place *at)
{
	char		line[HEAD_LENGTH + 1] = {0};
	int			fd = BasicOpenFile(head_path(), O_RDONLY | PG_BINARY);
	bool		ok = fd >= 0 && read(fd, line, HEAD_LENGTH) == HEAD_LENGTH &&
		strspn(line + 42, "0123456789abcdef") == 2 * CHAIN_BYTES;

	if (fd >= 0)
		close(fd);
	if (!ok)
		return false;
	*segment = strtoull(line, NULL, 10);
	at->seq = strtoull(line + 21, NULL, 10);
	hex_decode(line + 42, 2 * CHAIN_BYTES, (char *) at->chain);
	return true;
}

/* ---- quotas ------------------------------------------------------------ */

static void
remember_chunk(pg_atomic_uint64 *quota, uint64 space, uint64 end)
{
	Chunk	   *last = chunks_count > 0 ? &chunks[chunks_first + chunks_count - 1] : NULL;

	if (last != NULL && last->segment == segment_number && last->quota == quota)
	{
		last->space += space;
		last->end = end;
		return;
	}
	if (chunks_first + chunks_count == chunks_room)
	{
		if (chunks_first > chunks_room / 2)
		{
			memmove(chunks, chunks + chunks_first, chunks_count * sizeof(Chunk));
			chunks_first = 0;
		}
		else
		{
			chunks_room = Max(1024, 2 * chunks_room);
			chunks = chunks == NULL
				? MemoryContextAllocHuge(TopMemoryContext, chunks_room * sizeof(Chunk))
				: repalloc_huge(chunks, chunks_room * sizeof(Chunk));
		}
	}
	chunks[chunks_first + chunks_count++] = (Chunk) {segment_number, end, space, quota};
}

static void
release_chunks(uint64 segment, uint64 offset)
{
	while (chunks_count > 0)
	{
		Chunk	   *chunk = &chunks[chunks_first];

		if (chunk->segment > segment || (chunk->segment == segment && chunk->end > offset))
			return;
		pg_atomic_fetch_sub_u64(chunk->quota, chunk->space);
		chunks_first++;
		chunks_count--;
	}
	chunks_first = 0;
}

/* A new worker knows no chunks: what is left to count are the records still in the ring. */
static void
recount_quotas(void)
{
	pc_ring_record header;

	LWLockAcquire(pc_shm->ring_lock, LW_EXCLUSIVE);
	for (int i = 0; i < PC_QUOTA_SLOTS; i++)
		pg_atomic_write_u64(&pc_shm->quota[i], 0);
	for (uint64 at = pg_atomic_read_u64(&pc_shm->ring_synced); at < pc_shm->ring_head;
		 at += PC_RING_SPACE(header.length))
	{
		pc_ring_read(at, &header, sizeof(header));
		pg_atomic_fetch_add_u64(pc_quota_of(header.role), PC_RING_SPACE(header.length));
	}
	LWLockRelease(pc_shm->ring_lock);
}

/* ---- recovery ------------------------------------------------------------ */

/* Parses "sequence chain "; false where the line is not one of ours. */
static bool
parse_line(const char *line, size_t length, Place *at)
{
	char	   *rest;
	uint64		seq;
	size_t		prefix;

	if (length < 1 || line[0] < '0' || line[0] > '9')
		return false;
	seq = strtoull(line, &rest, 10);
	prefix = rest - line;
	if (*rest != ' ' || length < prefix + 2 + 2 * CHAIN_BYTES || memchr(line, '\0', length) != NULL ||
		strspn(rest + 1, "0123456789abcdef") != 2 * CHAIN_BYTES || rest[1 + 2 * CHAIN_BYTES] != ' ')
		return false;
	at->seq = seq;
	hex_decode(rest + 1, 2 * CHAIN_BYTES, (char *) at->chain);
	return true;
}

/* Takes the place of the last whole line of a segment; answers the length of the whole lines. */
static uint64
scan_segment(const char *path, Place *at, bool *some)
{
	FILE	   *file = AllocateFile(path, PG_BINARY_R);
	char	   *line = NULL;
	size_t		room = 0;
	ssize_t		n;
	uint64		good = 0;

	*some = false;
	if (file == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read the audit spool segment \"%s\": %m", path)));
	while ((n = getline(&line, &room, file)) > 0)
	{
		if (line[n - 1] != '\n' || !parse_line(line, n, at))
			break;
		good += n;
		*some = true;
	}
	free(line);
	FreeFile(file);
	return good;
}

/* A crash may leave a part of a line, which no statement has waited for successfully. */
static void
cut_tail(const char *path, uint64 good, uint64 size)
{
	if (good == size)
		return;
	ereport(LOG,
			(errmsg("cutting an unfinished record of %llu bytes off the audit spool segment \"%s\"",
					(unsigned long long) (size - good), path)));
	if (truncate(path, good) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not truncate the audit spool segment \"%s\": %m", path)));
}

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
		uint64		number = segment_of_name(entry->d_name);

		if (number == 0 || stat(segment_path(number), &st) != 0)
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
	Place		head;
	uint64		segment;

	if (!read_head(&segment, &head))
	{
		(void) write_head(0, &place);
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

	read_chain_key();
	memset(&place, 0, sizeof(place));
	make_directory();
	newest = newest_segment(&bytes);
	for (uint64 number = newest; number > 0 && !some; number--)
	{
		struct stat st;
		const char *path = segment_path(number);
		uint64		good;

		if (stat(path, &st) != 0)
			break;
		good = scan_segment(path, &place, &some);
		cut_tail(path, good, st.st_size);
		bytes -= st.st_size - good;
	}
	newest = Max(newest, continue_from_head());
	recount_quotas();
	segment_number = newest;
	segment_end = 0;
	pg_atomic_write_u64(&pc_shm->spool_bytes, bytes);
	pg_atomic_write_u64(&pc_shm->spool_segment, newest + 1);
	pg_atomic_write_u64(&pc_shm->spool_offset, 0);
	pg_atomic_write_u64(&pc_shm->spool_seq, place.seq);
}

/* ---- writing --------------------------------------------------------------- */

static void
tell_failure(const char *what, int error)
{
	char		why[PC_ERROR_MAX];

	errno = error;
	snprintf(why, sizeof(why), "%s \"%s\": %s", what, segment_path(segment_number), strerror(error));
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

/*
 * After a failed write or sync nothing is known of the file's end: it is
 * never written again.  One that holds nothing goes, for another is tried each second.
 */
static void
abandon_segment(void)
{
	if (segment_end == 0)
	{
		(void) unlink(segment_path(segment_number));
		segment_number--;
	}
	else if (ftruncate(segment_fd, segment_end) != 0)
		ereport(LOG, (errmsg("could not truncate \"%s\": %m", segment_path(segment_number))));
	close(segment_fd);
	segment_fd = -1;
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
	struct stat st;

	if (!all_shipped() || stat(segment_path(segment_number), &st) != 0 || st.st_size == 0 ||
		!write_head(segment_number, &place))
		return false;
	if (segment_fd >= 0)
		close(segment_fd);
	segment_fd = -1;
	if (unlink(segment_path(segment_number)) != 0)
		return false;
	pg_atomic_fetch_sub_u64(&pc_shm->spool_bytes, st.st_size);
	return true;
}

static bool
open_segment(void)
{
	uint64		next = segment_number + 1;
	int			fd = BasicOpenFile(segment_path(next), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | PG_BINARY);

	if (fd < 0 && errno == EEXIST)
	{
		segment_number = next;
		return open_segment();
	}
	if (fd < 0 || fsync_fname_ext(pc_spool_directory(), true, false, LOG) != 0)
	{
		int			error = errno;

		if (fd >= 0)
		{
			close(fd);
			(void) unlink(segment_path(next));
		}
		tell_failure("could not create the audit spool segment", error);
		return false;
	}
	segment_fd = fd;
	segment_number = next;
	segment_end = 0;
	return true;
}

static bool
write_all(const char *bytes, size_t n)
{
	while (n > 0)
	{
		ssize_t		done = write(segment_fd, bytes, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
		{
			errno = done == 0 ? ENOSPC : errno;
			return false;
		}
		bytes += done;
		n -= done;
	}
	return true;
}

/* Lines of the records from *at on, at most a batch; moves *at and *next on. */
static void
compose_batch(StringInfo lines, uint64 *at, uint64 head, Place *next)
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
		compose_line(lines, next, record, header.length);
		pfree(record);
		*at += PC_RING_SPACE(header.length);
	}
}

static void
remember_batch(uint64 from, uint64 to, uint64 end)
{
	while (from < to)
	{
		pc_ring_record header;

		pc_ring_read(from, &header, sizeof(header));
		remember_chunk(pc_quota_of(header.role), PC_RING_SPACE(header.length), end);
		from += PC_RING_SPACE(header.length);
	}
}

/* The batch is durable: whoever waits for it may go on. */
static void
commit_batch(uint64 from, uint64 to, size_t bytes, const Place *next)
{
	place = *next;
	segment_end += bytes;
	remember_batch(from, to, segment_end);
	pg_atomic_fetch_add_u64(&pc_shm->spool_bytes, bytes);
	pg_atomic_write_u64(&pc_shm->spool_seq, place.seq);
	pg_atomic_write_u64(&pc_shm->spool_segment, segment_number);
	pg_atomic_write_u64(&pc_shm->spool_offset, segment_end);
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
		Place		next = place;
		uint64		to = from;

		if (segment_fd >= 0 && segment_end >= SEGMENT_BYTES)
		{
			close(segment_fd);
			segment_fd = -1;
		}
		if (segment_fd < 0 && !open_segment())
			return false;
		resetStringInfo(&lines);
		compose_batch(&lines, &to, head, &next);
		if (!write_all(lines.data, lines.len) || pg_fdatasync(segment_fd) != 0)
		{
			int			error = errno;

			abandon_segment();
			if (retire_shipped())
				continue;
			tell_failure("could not write the audit spool segment", error);
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
	if (segment > segment_number + 1 ||
		(segment_fd >= 0 && segment == segment_number && offset > segment_end))
	{
		ereport(LOG, (errmsg("the node daemon claims to have shipped audit records that do not exist")));
		return;
	}
	release_chunks(segment, offset);
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
		uint64		number = segment_of_name(entry->d_name);

		if (number == 0 || number >= segment || number == segment_number ||
			stat(segment_path(number), &st) != 0)
			continue;
		if (unlink(segment_path(number)) == 0)
			pg_atomic_fetch_sub_u64(&pc_shm->spool_bytes, st.st_size);
		else
			ereport(LOG, (errmsg("could not remove \"%s\": %m", segment_path(number))));
	}
	FreeDir(dir);
	removed_below = Min(segment, segment_number);	/* the last one had to stay */
}
