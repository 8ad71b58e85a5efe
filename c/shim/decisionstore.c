/*
 * decisionstore.c: decisions that all sessions of the node share.
 *
 * The library encodes and decodes them; here they are bytes under a key, the
 * SHA-256 of everything that the decision was asked for, the policy epoch
 * included.  The store lies in shared memory of a fixed size, in chains of
 * blocks.  When it is full the clock takes what nobody has used for a round.
 * All of it is wiped when the epoch moves.  Mask keys are in there, so its
 * pages are left out of core dumps.
 */
#include "postgres.h"

#include "decisionstore.h"
#include "portcullis.h"
#include "shmem.h"

#define BLOCK_DATA		504

typedef struct block
{
	int32		next;			/* -1: the last one */
	int32		spare;
	char		data[BLOCK_DATA];
} block;

typedef struct entry
{
	uint8		key[PC_DECISION_KEY];
	uint64		until;			/* pc_clock_ms */
	int32		length;
	int32		first;			/* block */
	int32		next;			/* in its bucket, or in the list of free entries; -1: the last one */
	bool		used;
	pg_atomic_uint32 referenced;	/* since the clock came by */
} entry;

typedef struct store
{
	uint64		epoch;			/* of all that is in it */
	int32		nentries;
	int32		nblocks;
	int32		free_entry;
	int32		free_block;
	int32		free_blocks;
	int32		used;
	int32		hand;			/* of the clock */
} store;

static store *shared = NULL;	/* NULL: portcullis.decision_cache is 0 */
static int32 *buckets;			/* as many as entries */
static entry *entries;
static block *blocks;

static int32
blocks_for(int32 length)
{
	return (length + BLOCK_DATA - 1) / BLOCK_DATA;
}

/* An entry for every two blocks: most decisions take more. */
static int32
count_blocks(void)
{
	return (int32) ((Size) pc_guc_decision_cache_kb * 1024 /
					(sizeof(block) + (sizeof(entry) + sizeof(int32)) / 2 + 1));
}

Size
pc_store_size(void)
{
	int32		nblocks = count_blocks();

	if (nblocks < 4)
		return 0;
	return MAXALIGN(sizeof(store)) + MAXALIGN(sizeof(int32) * (nblocks / 2)) +
		MAXALIGN(sizeof(entry) * (nblocks / 2)) + sizeof(block) * (Size) nblocks;
}

static void
clear(void)
{
	shared->hand = shared->used = 0;
	shared->free_entry = shared->free_block = 0;
	shared->free_blocks = shared->nblocks;
	for (int32 i = 0; i < shared->nentries; i++)
	{
		buckets[i] = -1;
		memset(entries[i].key, 0, PC_DECISION_KEY);
		entries[i].used = false;
		entries[i].next = i + 1 < shared->nentries ? i + 1 : -1;
	}
	memset(blocks, 0, sizeof(block) * (Size) shared->nblocks);
	for (int32 i = 0; i < shared->nblocks; i++)
		blocks[i].next = i + 1 < shared->nblocks ? i + 1 : -1;
}

void
pc_store_place(char *area, bool fresh)
{
	int32		nblocks = count_blocks();

	shared = (store *) area;
	buckets = (int32 *) (area + MAXALIGN(sizeof(store)));
	entries = (entry *) ((char *) buckets + MAXALIGN(sizeof(int32) * (nblocks / 2)));
	blocks = (block *) ((char *) entries + MAXALIGN(sizeof(entry) * (nblocks / 2)));
	if (!fresh)
		return;
	shared->epoch = 0;
	shared->nblocks = nblocks;
	shared->nentries = nblocks / 2;
	for (int32 i = 0; i < shared->nentries; i++)
		pg_atomic_init_u32(&entries[i].referenced, 0);
	clear();
}

/* The keys are digests: any four bytes of them spread well. */
static int32 *
bucket_of(const uint8 *key)
{
	uint32		hash;

	memcpy(&hash, key, sizeof(hash));
	return &buckets[hash % (uint32) shared->nentries];
}

static int32
find(const uint8 *key)
{
	int32		i = *bucket_of(key);

	while (i >= 0 && memcmp(entries[i].key, key, PC_DECISION_KEY) != 0)
		i = entries[i].next;
	return i;
}

static void
drop(int32 i)
{
	entry	   *e = &entries[i];
	int32	   *at = bucket_of(e->key);

	while (*at != i)
		at = &entries[*at].next;
	*at = e->next;
	for (int32 b = e->first; b >= 0;)
	{
		int32		next = blocks[b].next;

		memset(blocks[b].data, 0, BLOCK_DATA);
		blocks[b].next = shared->free_block;
		shared->free_block = b;
		shared->free_blocks++;
		b = next;
	}
	e->used = false;
	e->next = shared->free_entry;
	shared->free_entry = i;
	shared->used--;
}

/* Two rounds of the clock find one, if there is any. */
static void
evict(void)
{
	for (int32 steps = 0; steps < 2 * shared->nentries; steps++)
	{
		int32		i = shared->hand;

		shared->hand = (i + 1) % shared->nentries;
		if (!entries[i].used)
			continue;
		if (pg_atomic_exchange_u32(&entries[i].referenced, 0) == 0)
		{
			drop(i);
			return;
		}
	}
}

static void
fill(int32 i, const char *bytes, int32 length)
{
	int32	   *link = &entries[i].first;

	while (length > 0)
	{
		int32		b = shared->free_block;
		int32		part = Min(length, BLOCK_DATA);

		shared->free_block = blocks[b].next;
		shared->free_blocks--;
		memcpy(blocks[b].data, bytes, part);
		*link = b;
		link = &blocks[b].next;
		bytes += part;
		length -= part;
	}
	*link = -1;
}

/* Nothing outlives its epoch.  The caller holds the lock for itself. */
static void
follow_epoch(void)
{
	uint64		now = pc_epoch();

	if (shared->epoch == now)
		return;
	if (shared->used > 0)
		clear();
	shared->epoch = now;
}

void
pc_store_put(const uint8 *key, uint64 epoch, const char *bytes, int32 length, uint64 until)
{
	int32		need = blocks_for(length);
	int32		i;

	if (shared == NULL || length <= 0 || need > shared->nblocks / 4 || until <= pc_clock_ms())
		return;
	LWLockAcquire(pc_shm->decision_lock, LW_EXCLUSIVE);
	follow_epoch();
	if (shared->epoch == epoch)
	{
		if ((i = find(key)) >= 0)
			drop(i);
		while (shared->used > 0 && (shared->free_entry < 0 || shared->free_blocks < need))
			evict();
		i = shared->free_entry;
		shared->free_entry = entries[i].next;
		shared->used++;
		memcpy(entries[i].key, key, PC_DECISION_KEY);
		entries[i].until = until;
		entries[i].length = length;
		entries[i].used = true;
		pg_atomic_write_u32(&entries[i].referenced, 1);
		entries[i].next = *bucket_of(key);
		*bucket_of(key) = i;
		fill(i, bytes, length);
	}
	LWLockRelease(pc_shm->decision_lock);
}

static char *
copy_out(const entry *e)
{
	char	   *bytes = palloc(e->length);
	int32		done = 0;

	for (int32 b = e->first; b >= 0; b = blocks[b].next)
	{
		int32		part = Min(e->length - done, BLOCK_DATA);

		memcpy(bytes + done, blocks[b].data, part);
		done += part;
	}
	return bytes;
}

char *
pc_store_get(const uint8 *key, uint64 epoch, int32 *length, int64 *left_ms)
{
	char	   *bytes = NULL;
	uint64		now = pc_clock_ms();
	bool		stale;
	int32		i;

	if (shared == NULL)
		return NULL;
	LWLockAcquire(pc_shm->decision_lock, LW_SHARED);
	stale = shared->epoch != pc_epoch();
	if (!stale && shared->epoch == epoch && (i = find(key)) >= 0 && entries[i].until > now)
	{
		pg_atomic_write_u32(&entries[i].referenced, 1);
		*length = entries[i].length;
		*left_ms = (int64) (entries[i].until - now);
		bytes = copy_out(&entries[i]);
	}
	LWLockRelease(pc_shm->decision_lock);
	if (stale)
	{
		LWLockAcquire(pc_shm->decision_lock, LW_EXCLUSIVE);
		follow_epoch();
		LWLockRelease(pc_shm->decision_lock);
	}
	return bytes;
}

int32
pc_store_count(void)
{
	int32		used;

	if (shared == NULL)
		return 0;
	LWLockAcquire(pc_shm->decision_lock, LW_SHARED);
	used = shared->used;
	LWLockRelease(pc_shm->decision_lock);
	return used;
}
