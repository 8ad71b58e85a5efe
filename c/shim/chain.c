/*
 * chain.c: the chain of the audit spool's lines.
 *
 * A line is "sequence chain record": chain is HMAC-SHA-256 (SHA-256 where the
 * node has no key file) over the chain of the line before, the sequence
 * number and the record, so that a missing, changed or reordered line shows.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/cryptohash.h"
#include "common/hmac.h"
#include "storage/fd.h"
#include "utils/builtins.h"

#include "portcullis.h"
#include "spoolfile.h"
#include "worker.h"

#define CHAIN_LABEL		"portcullis audit chain"
#define HEAD_LENGTH		(20 + 1 + 20 + 1 + 2 * PC_CHAIN_BYTES + 1)	/* "segment sequence chain", line feed */

static bool have_key = false;
static uint8 chain_key[PC_CHAIN_BYTES];

static void
hmac(const uint8 *key, size_t key_length, const char *const *parts, const size_t *lengths, int n, uint8 *out)
{
	pg_hmac_ctx *ctx = pg_hmac_create(PG_SHA256);
	bool		ok = ctx != NULL && pg_hmac_init(ctx, key, key_length) >= 0;

	for (int i = 0; ok && i < n; i++)
		ok = pg_hmac_update(ctx, (const uint8 *) parts[i], lengths[i]) >= 0;
	if (!ok || pg_hmac_final(ctx, out, PC_CHAIN_BYTES) < 0)
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
	if (!ok || pg_cryptohash_final(ctx, out, PC_CHAIN_BYTES) < 0)
		elog(ERROR, "could not compute a SHA-256 digest");
	pg_cryptohash_free(ctx);
}

void
pc_chain_read_key(void)
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

void
pc_chain_line(StringInfo out, pc_place *at, const char *record, size_t length)
{
	char		number[32];
	char		hex[2 * PC_CHAIN_BYTES + 1];
	int			digits = snprintf(number, sizeof(number), "%llu ", (unsigned long long) at->seq + 1);
	const char *parts[3] = {(const char *) at->chain, number, record};
	size_t		lengths[3] = {PC_CHAIN_BYTES, digits, length};
	uint8		next[PC_CHAIN_BYTES];

	if (have_key)
		hmac(chain_key, sizeof(chain_key), parts, lengths, 3, next);
	else
		digest(parts, lengths, 3, next);
	memcpy(at->chain, next, PC_CHAIN_BYTES);
	at->seq++;
	hex_encode((const char *) next, PC_CHAIN_BYTES, hex);
	hex[2 * PC_CHAIN_BYTES] = '\0';
	appendStringInfo(out, "%s%s ", number, hex);
	appendBinaryStringInfo(out, record, length);
	appendStringInfoChar(out, '\n');
}

bool
pc_chain_parse(const char *line, size_t length, pc_place *at)
{
	char	   *rest;
	uint64		seq;
	size_t		prefix;

	if (length < 1 || line[0] < '0' || line[0] > '9')
		return false;
	seq = strtoull(line, &rest, 10);
	prefix = rest - line;
	if (*rest != ' ' || length < prefix + 2 + 2 * PC_CHAIN_BYTES || memchr(line, '\0', length) != NULL ||
		strspn(rest + 1, "0123456789abcdef") != 2 * PC_CHAIN_BYTES || rest[1 + 2 * PC_CHAIN_BYTES] != ' ')
		return false;
	at->seq = seq;
	hex_decode(rest + 1, 2 * PC_CHAIN_BYTES, (char *) at->chain);
	return true;
}

/*
 * The file of the chain's end has its size from the first day, so
 * that writing it needs no space, and is smaller than what a disk writes at once.
 */
static const char *
head_path(void)
{
	static char path[MAXPGPATH + 32];

	snprintf(path, sizeof(path), "%s/chain.head", pc_spool_directory());
	return path;
}

bool
pc_chain_write_head(uint64 segment, const pc_place *at)
{
	char		line[HEAD_LENGTH + 1];
	char		hex[2 * PC_CHAIN_BYTES + 1];
	int			fd = BasicOpenFile(head_path(), O_WRONLY | O_CREAT | PG_BINARY);
	bool		ok;

	hex_encode((const char *) at->chain, PC_CHAIN_BYTES, hex);
	hex[2 * PC_CHAIN_BYTES] = '\0';
	snprintf(line, sizeof(line), "%020llu %020llu %s\n", (unsigned long long) segment, (unsigned long long) at->seq, hex);
	ok = fd >= 0 && pg_pwrite(fd, line, HEAD_LENGTH, 0) == HEAD_LENGTH && pg_fdatasync(fd) == 0;
	if (!ok)
		ereport(LOG, (errcode_for_file_access(), errmsg("could not write \"%s\": %m", head_path())));
	if (fd >= 0)
		close(fd);
	return ok;
}

bool
pc_chain_read_head(uint64 *segment, pc_place *at)
{
	char		line[HEAD_LENGTH + 1] = {0};
	int			fd = BasicOpenFile(head_path(), O_RDONLY | PG_BINARY);
	bool		ok = fd >= 0 && read(fd, line, HEAD_LENGTH) == HEAD_LENGTH &&
		strspn(line + 42, "0123456789abcdef") == 2 * PC_CHAIN_BYTES;

	if (fd >= 0)
		close(fd);
	if (!ok)
		return false;
	*segment = strtoull(line, NULL, 10);
	at->seq = strtoull(line + 21, NULL, 10);
	hex_decode(line + 42, 2 * PC_CHAIN_BYTES, (char *) at->chain);
	return true;
}
