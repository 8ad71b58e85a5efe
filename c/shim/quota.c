/*
 * quota.c: what the records of each role take until they are shipped.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "portcullis.h"
#include "shmem.h"
#include "spoolfile.h"

/* What a group of neighbouring lines of one quota slot takes, until it is shipped. */
typedef struct Chunk
{
	uint64		segment;
	uint64		end;			/* offset after its last line */
	uint64		space;			/* as counted in the quota */
	pg_atomic_uint64 *quota;
} Chunk;

static Chunk *chunks = NULL;	/* chunks[first .. first + n - 1], oldest first */
static size_t chunks_first = 0;
static size_t chunks_count = 0;
static size_t chunks_room = 0;

static void
remember(uint64 segment, pg_atomic_uint64 *quota, uint64 space, uint64 end)
{
	Chunk	   *last = chunks_count > 0 ? &chunks[chunks_first + chunks_count - 1] : NULL;

	if (last != NULL && last->segment == segment && last->quota == quota)
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
	chunks[chunks_first + chunks_count++] = (Chunk) {segment, end, space, quota};
}

void
pc_quota_spooled(uint64 segment, uint64 from, uint64 to, uint64 end)
{
	while (from < to)
	{
		pc_ring_record header;

		pc_ring_read(from, &header, sizeof(header));
		remember(segment, pc_quota_of(header.role), PC_RING_SPACE(header.length), end);
		from += PC_RING_SPACE(header.length);
	}
}

void
pc_quota_shipped(uint64 segment, uint64 offset)
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

void
pc_quota_recount(void)
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
