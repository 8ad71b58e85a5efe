/*
 * control.c: the lines between the main worker and the node daemon
 * (docs/architecture.md, "Shared memory, workers, the node daemon").
 */
#include "postgres.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "portcullis.h"
#include "shmem.h"
#include "worker.h"

#define LINE_MAX_BYTES	65536
#define FIELDS_MAX		8
#define OUT_MAX_BYTES	(1024 * 1024)
#define TTL_MAX_MS		(24 * 3600 * 1000)

static char in[LINE_MAX_BYTES + 1];
static size_t in_length = 0;
static StringInfoData out = {0};

/* What the daemon has been told. */
static bool config_told = false;
static uint64 config_told_generation = 0;
static uint64 told_segment = 0;
static uint64 told_offset = 0;

void
pc_control_reset(void)
{
	in_length = 0;
	if (out.data == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		initStringInfo(&out);
		MemoryContextSwitchTo(old);
	}
	resetStringInfo(&out);
	config_told = false;
	told_segment = told_offset = 0;
	/* What was asked of the daemon before is asked again. */
	LWLockAcquire(pc_shm->lock, LW_EXCLUSIVE);
	{
		HASH_SEQ_STATUS all;
		pc_account *account;

		hash_seq_init(&all, pc_shm_accounts);
		while ((account = hash_seq_search(&all)) != NULL)
			if (account->state == PC_ACCOUNT_ASKED)
				account->wanted = pc_shm->accounts_wanted = true;
	}
	LWLockRelease(pc_shm->lock);
}

bool
pc_control_pending(void)
{
	return out.len > 0;
}

/* ---- from the daemon ---------------------------------------------------- */

static int
nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes a hex field into UTF-8 text of at most room - 1 bytes; false: not that. */
static bool
take_text(const char *hex, char *to, size_t room)
{
	size_t		n = strlen(hex) / 2;
	char	   *text = palloc(n + 1);
	bool		ok = strlen(hex) % 2 == 0;

	for (size_t i = 0; ok && i < n; i++)
	{
		int			high = nibble(hex[2 * i]);
		int			low = nibble(hex[2 * i + 1]);

		ok = high >= 0 && low >= 0 && (high | low) != 0;
		text[i] = (char) (high << 4 | low);
	}
	text[ok ? n : 0] = '\0';
	ok = ok && pg_verify_mbstr(PG_UTF8, text, (int) n, true);
	if (ok)
	{
		n = n < room ? n : (size_t) pg_encoding_mbcliplen(PG_UTF8, text, (int) n, (int) room - 1);
		memcpy(to, text, n);
		to[n] = '\0';
	}
	pfree(text);
	return ok;
}

static bool
take_number(const char *field, uint64 *n)
{
	char	   *rest;

	if (field[0] < '0' || field[0] > '9')
		return false;
	errno = 0;
	*n = strtoull(field, &rest, 10);
	return *rest == '\0' && errno == 0;
}

static bool
take_token(char **field)
{
	struct timeval now;
	uint64		expires;
	uint64		unix_ms;

	if (!take_number(field[1], &expires) || strlen(field[2]) >= PC_TOKEN_MAX)
		return false;
	gettimeofday(&now, NULL);
	unix_ms = (uint64) now.tv_sec * 1000 + now.tv_usec / 1000;
	LWLockAcquire(pc_shm->lock, LW_EXCLUSIVE);
	strlcpy(pc_shm_secrets->token, field[2], PC_TOKEN_MAX);
	pc_shm->token_received = pc_clock_ms();
	pc_shm->token_expires = pc_shm->token_received + (expires > unix_ms ? expires - unix_ms : 0);
	LWLockRelease(pc_shm->lock);
	return true;
}

static bool
take_epoch(char **field)
{
	uint64		n;

	if (!take_number(field[1], &n))
		return false;
	pg_atomic_write_u64(&pc_shm->policy_version, n);
	return true;
}

static bool
take_lease(char **field)
{
	uint64		ms;

	if (!take_number(field[1], &ms))
		return false;
	pg_atomic_write_u64(&pc_shm->lease_end, pc_clock_ms() + Min(ms, (uint64) pc_guc_lease_ms));
	return true;
}

void
pc_control_shorten_lease(void)
{
	uint64		longest = pc_clock_ms() + pc_guc_lease_ms;

	if (pg_atomic_read_u64(&pc_shm->lease_end) > longest)
		pg_atomic_write_u64(&pc_shm->lease_end, longest);
}

/* A full table gives up what has expired. */
static pc_account *
enter_account(const char *role)
{
	pc_account *account = hash_search(pc_shm_accounts, role, HASH_ENTER_NULL, NULL);
	HASH_SEQ_STATUS all;
	pc_account *old;
	uint64		now = pc_clock_ms();

	if (account != NULL)
		return account;
	hash_seq_init(&all, pc_shm_accounts);
	while ((old = hash_seq_search(&all)) != NULL)
		if (old->expires <= now)
			hash_search(pc_shm_accounts, old->role, HASH_REMOVE, NULL);
	return hash_search(pc_shm_accounts, role, HASH_ENTER_NULL, NULL);
}

static bool
take_account(char **field)
{
	char		role[NAMEDATALEN] = {0};
	char		reason[PC_REASON_MAX];
	bool		ok = strcmp(field[2], "ok") == 0;
	uint64		ttl;
	pc_account *account;

	if ((!ok && strcmp(field[2], "denied") != 0) || !take_number(field[3], &ttl) ||
		!take_text(field[1], role, sizeof(role)) || !take_text(field[4], reason, sizeof(reason)))
		return false;
	LWLockAcquire(pc_shm->lock, LW_EXCLUSIVE);
	if ((account = enter_account(role)) != NULL)
	{
		account->state = ok ? PC_ACCOUNT_OK : PC_ACCOUNT_DENIED;
		account->wanted = false;
		account->expires = pc_clock_ms() + Min(ttl, TTL_MAX_MS);
		strlcpy(account->reason, reason, sizeof(account->reason));
	}
	LWLockRelease(pc_shm->lock);
	ConditionVariableBroadcast(&pc_shm->accounts_changed);
	return true;
}

static bool
take_status(char **field)
{
	char		value[PC_STATUS_VALUE_MAX];
	int			i;

	if (field[1][0] == '\0' || strlen(field[1]) >= PC_STATUS_KEY_MAX || !take_text(field[2], value, sizeof(value)))
		return false;
	LWLockAcquire(pc_shm->lock, LW_EXCLUSIVE);
	for (i = 0; i < pc_shm->nstatus && strcmp(pc_shm->status[i].key, field[1]) != 0; i++)
		;
	if (i < PC_STATUS_MAX)
	{
		strlcpy(pc_shm->status[i].key, field[1], PC_STATUS_KEY_MAX);
		strlcpy(pc_shm->status[i].value, value, PC_STATUS_VALUE_MAX);
		pc_shm->nstatus = Max(pc_shm->nstatus, i + 1);
	}
	LWLockRelease(pc_shm->lock);
	return true;
}

static bool
take_shipped(char **field)
{
	uint64		segment;
	uint64		offset;

	if (!take_number(field[1], &segment) || !take_number(field[2], &offset))
		return false;
	pc_spoolfile_shipped(segment, offset);
	return true;
}

/* Lines of an unknown kind are from a newer daemon: ignored. */
static void
take_line(char *line)
{
	static const struct
	{
		const char *kind;
		int			fields;
		bool		(*take) (char **field);
	}			kinds[] = {
		{"TOKEN", 3, take_token},
		{"EPOCH", 2, take_epoch},
		{"LEASE", 2, take_lease},
		{"ACCOUNT", 5, take_account},
		{"STATUS", 3, take_status},
		{"SHIPPED", 3, take_shipped},
	};
	char	   *field[FIELDS_MAX];
	int			n = 0;

	for (char *at = line; at != NULL && n < FIELDS_MAX;)
		field[n++] = strsep(&at, "\t");
	for (size_t i = 0; i < lengthof(kinds); i++)
		if (strcmp(field[0], kinds[i].kind) == 0)
		{
			if (n < kinds[i].fields || !kinds[i].take(field))
				ereport(LOG, (errmsg("the node daemon sent a %s line that cannot be read", kinds[i].kind)));
			return;
		}
}

/* Takes the whole lines of what was read; the rest stays. */
static void
take_lines(void)
{
	char	   *from = in;
	char	   *end;

	while ((end = memchr(from, '\n', in_length - (from - in))) != NULL)
	{
		*end = '\0';
		take_line(from);
		from = end + 1;
	}
	in_length -= from - in;
	memmove(in, from, in_length);
}

void
pc_control_readable(void)
{
	ssize_t		n = recv(pc_daemon_socket(), in + in_length, LINE_MAX_BYTES - in_length, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	if (n <= 0)
	{
		pc_daemon_lost(n == 0 ? "it closed its control socket" : "its control socket failed");
		return;
	}
	in_length += n;
	take_lines();
	if (in_length == LINE_MAX_BYTES)
		pc_daemon_lost("it sent a line that is too long");
}

/* ---- to the daemon ------------------------------------------------------------ */

static void
put_text(const char *text)
{
	appendStringInfoChar(&out, '\t');
	for (; *text; text++)
		appendStringInfo(&out, "%02x", (unsigned char) *text);
}

static void
put_config(void)
{
	bool		due;

	LWLockAcquire(pc_shm->lock, LW_SHARED);
	due = !config_told || config_told_generation != pc_shm->config_generation;
	if (due)
	{
		config_told = true;
		config_told_generation = pc_shm->config_generation;
		appendStringInfoString(&out, "CONFIG");
		put_text(pc_shm->url);
		put_text(pc_shm_secrets->api_key);
		put_text(pc_shm->node);
		appendStringInfoChar(&out, '\n');
	}
	LWLockRelease(pc_shm->lock);
}

static void
put_checks(void)
{
	HASH_SEQ_STATUS all;
	pc_account *account;

	LWLockAcquire(pc_shm->lock, LW_EXCLUSIVE);
	if (pc_shm->accounts_wanted)
	{
		pc_shm->accounts_wanted = false;
		hash_seq_init(&all, pc_shm_accounts);
		while ((account = hash_seq_search(&all)) != NULL)
			if (account->wanted)
			{
				account->wanted = false;
				appendStringInfoString(&out, "CHECK");
				put_text(account->role);
				appendStringInfoChar(&out, '\n');
			}
	}
	LWLockRelease(pc_shm->lock);
}

static void
put_spool(void)
{
	uint64		segment = pg_atomic_read_u64(&pc_shm->spool_segment);
	uint64		offset = pg_atomic_read_u64(&pc_shm->spool_offset);

	if (segment == told_segment && offset == told_offset)
		return;
	told_segment = segment;
	told_offset = offset;
	appendStringInfo(&out, "SPOOL\t%llu\t%llu\n", (unsigned long long) segment, (unsigned long long) offset);
}

void
pc_control_send(void)
{
	ssize_t		n;

	if (pc_daemon_socket() < 0)
		return;
	if (out.len < OUT_MAX_BYTES)
	{
		put_config();
		put_checks();
		put_spool();
	}
	if (out.len == 0)
		return;
	n = send(pc_daemon_socket(), out.data, out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n <= 0)
		return;					/* its end is noticed by reading */
	memmove(out.data, out.data + n, out.len - n);
	out.len -= n;
	out.data[out.len] = '\0';
}
