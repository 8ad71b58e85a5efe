/*
 * buffer.c: memory of row blocks.
 *
 * One sparse memfd for all blocks of a ring: shared, so that a driver may be
 * run in another process; sparse, so that the address of a block never
 * changes however long its values are, while only touched pages cost memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include "fetch.h"

#define ARENA_RESERVE	((size_t) 2304 << 20)	/* two values of 1 GiB and some */
#define ARENA_KEEP		((size_t) 256 << 10)	/* kept when a block is given back */

/* File size limit, which also holds for memfds; exceeding it would raise SIGXFSZ. */
static size_t
reserve_for(int32_t n, size_t fixed)
{
	struct rlimit lim;
	size_t		want = fixed + ARENA_RESERVE;

	if (getrlimit(RLIMIT_FSIZE, &lim) == 0 && lim.rlim_cur != RLIM_INFINITY &&
		(size_t) lim.rlim_cur / (size_t) n < want)
		want = (size_t) lim.rlim_cur / (size_t) n & ~(size_t) 0xffff;
	return want;
}

/* Fills b[0..n); fixed is rounded up to pages.  Returns 0 or an errno. */
int
pc_buffers_new(pc_buffer *b, int32_t n, int64_t fixed)
{
	size_t		fix = ((size_t) fixed + 0xffff) & ~(size_t) 0xffff;
	size_t		reserve = reserve_for(n, fix);
	int			fd;
	int			err;
	char	   *base;

	if (reserve < fix + 0x10000)
		return EFBIG;
	fd = memfd_create("portcullis-rows", MFD_CLOEXEC);
	if (fd < 0)
		return errno;
	if (ftruncate(fd, (off_t) (reserve * (size_t) n)) != 0)
	{
		err = errno;
		close(fd);
		return err;
	}
	base = mmap(NULL, reserve * (size_t) n, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_NORESERVE, fd, 0);
	err = errno;
	close(fd);
	if (base == MAP_FAILED)
		return err;
	/* Row blocks hold people's data: keep them out of core dumps. */
	(void) madvise(base, reserve * (size_t) n, MADV_DONTDUMP);
	for (int32_t i = 0; i < n; i++)
	{
		b[i].base = base + reserve * (size_t) i;
		b[i].fixed = fix;
		b[i].reserve = reserve;
		b[i].arena_high = 0;
	}
	return 0;
}

void
pc_buffers_free(pc_buffer *b, int32_t n)
{
	if (n > 0 && b[0].base != NULL)
	{
		munmap(b[0].base, b[0].reserve * (size_t) n);
		memset(b, 0, sizeof(pc_buffer) * (size_t) n);
	}
}

/* Gives the pages of long values back to the system. */
void
pc_buffer_trim(pc_buffer *b)
{
	size_t		high = (b->arena_high + 4095) & ~(size_t) 4095;

	if (high > ARENA_KEEP &&
		madvise(b->base + b->fixed + ARENA_KEEP, high - ARENA_KEEP, MADV_REMOVE) == 0)
		b->arena_high = ARENA_KEEP;
}
