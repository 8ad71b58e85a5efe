/*
 * seam.c: the functions of engine.h, each a call of the Go function of the
 * same name behind it.  Here the compiler checks that both agree.
 */
#include <signal.h>
#include <stddef.h>
#include <string.h>

#include "_cgo_export.h"

_Static_assert(offsetof(pc_column, data) == 16, "engine/mask mirrors pc_column");
_Static_assert(offsetof(pc_column, ind) == 24, "engine/mask mirrors pc_column");
_Static_assert(offsetof(pc_block, rows) == 8, "engine/mask mirrors pc_block");
_Static_assert(offsetof(pc_block, arena_len) == 32, "engine/mask mirrors pc_block");

/*
 * Go's start, which is another constructor of this library, takes over
 * SIGFPE, SIGPIPE and SIGURG, and makes every handler of PostgreSQL's run on
 * its small alternate stack.  So the dispositions are saved before it (a
 * numbered constructor comes first) and put back at the first call.  SIGSEGV
 * and SIGBUS stay Go's, which turns them into panics.
 */
static struct sigaction before_go[NSIG];
static int	saved;

__attribute__((constructor(101)))
static void
save_dispositions(void)
{
	for (int sig = 1; sig < NSIG; sig++)
		if (sigaction(sig, NULL, &before_go[sig]) != 0)
			before_go[sig].sa_handler = SIG_ERR;
	saved = 1;
}

static void
restore_dispositions(void)
{
	for (int sig = 1; saved && sig < NSIG; sig++)
		if (sig != SIGSEGV && sig != SIGBUS && sig != SIGKILL && sig != SIGSTOP &&
			before_go[sig].sa_handler != SIG_ERR)
			sigaction(sig, &before_go[sig], NULL);
	saved = 0;
}

int32_t
pc_abi(void)
{
	restore_dispositions();
	return PC_ABI;
}

int32_t
pc_start(const pc_start_args *args, int32_t *event_fd, pc_error *err)
{
	restore_dispositions();
	return pcgo_start((pc_start_args *) args, event_fd, err);
}

void
pc_error_free(pc_error *err)
{
	if (err == NULL)
		return;
	free(err->message);
	free(err->detail);
	free(err->hint);
	memset(err, 0, sizeof(*err));
}

int32_t
pc_validate_options(int32_t object, const pc_option *options, int32_t n, pc_error *err)
{
	return pcgo_validate_options(object, (pc_option *) options, n, err);
}

int32_t
pc_check_driver(const char *driver, pc_error *err)
{
	return pcgo_check_driver((char *) driver, err);
}

int32_t
pc_push(const pc_source *source, const pc_table *table, const pc_tree *quals, pc_push_reply *reply, pc_error *err)
{
	return pcgo_push((pc_source *) source, (pc_table *) table, (pc_tree *) quals, reply, err);
}

void
pc_push_reply_free(pc_push_reply *reply)
{
	if (reply == NULL)
		return;
	for (int32_t i = 0; reply->why != NULL && i < reply->nquals; i++)
		free(reply->why[i]);
	free(reply->why);
	free(reply->push);
	memset(reply, 0, sizeof(*reply));
}

int32_t
pc_decide_cached(const pc_session *session, const char *const *data_sources, int32_t n, uint64_t *ticket,
				 uint8_t *keys, pc_error *err)
{
	return pcgo_decide_cached((pc_session *) session, (char **) data_sources, n, ticket, keys, err);
}

int32_t
pc_decide_offer(const pc_session *session, const char *data_source, const char *bytes, int32_t length, int64_t max_age_ms)
{
	return pcgo_decide_offer((pc_session *) session, (char *) data_source, (char *) bytes, length, max_age_ms);
}

int32_t
pc_decide_encoded(const pc_session *session, const char *data_source, char **bytes, int32_t *length, int64_t *max_age_ms)
{
	return pcgo_decide_encoded((pc_session *) session, (char *) data_source, bytes, length, max_age_ms);
}

int32_t
pc_decide(const pc_session *session, const char *const *data_sources, int32_t n, uint64_t *ticket, pc_error *err)
{
	return pcgo_decide((pc_session *) session, (char **) data_sources, n, ticket, err);
}

int32_t
pc_decide_result(uint64_t ticket, pc_decision *out, int32_t n, pc_error *err)
{
	return pcgo_decide_result(ticket, out, n, err);
}

int32_t
pc_too_many(uint64_t decision, pc_error *err)
{
	return pcgo_too_many(decision, err);
}

int32_t
pc_scan_begin(const pc_scan_request *request, uint64_t *scan, pc_error *err)
{
	return pcgo_scan_begin((pc_scan_request *) request, scan, err);
}

const char *
pc_scan_sql(uint64_t scan)
{
	return pcgo_scan_sql(scan);
}

int32_t
pc_scan_start(uint64_t scan, const pc_param *params, int32_t n, pc_error *err)
{
	return pcgo_scan_start(scan, (pc_param *) params, n, err);
}

int32_t
pc_scan_next(uint64_t scan, pc_block **block, pc_error *err)
{
	return pcgo_scan_next(scan, block, err);
}

void
pc_scan_end(uint64_t scan, pc_scan_stats *stats)
{
	pcgo_scan_end(scan, stats);
}

int32_t
pc_ticket_result(uint64_t ticket, pc_rows *rows, pc_error *err)
{
	return pcgo_ticket_result(ticket, rows, err);
}

void
pc_ticket_cancel(uint64_t ticket)
{
	pcgo_ticket_cancel(ticket);
}

void
pc_rows_free(pc_rows *rows)
{
	if (rows == NULL)
		return;
	for (int64_t i = 0; rows->cells != NULL && i < rows->nrows * rows->ncols; i++)
		free(rows->cells[i]);
	free(rows->cells);
	memset(rows, 0, sizeof(*rows));
}

int32_t
pc_import(const pc_import_request *request, uint64_t *ticket, pc_error *err)
{
	return pcgo_import((pc_import_request *) request, ticket, err);
}

int32_t
pc_count(const pc_source *source, const pc_table *table, int32_t with_columns, uint64_t *ticket, pc_error *err)
{
	return pcgo_count((pc_source *) source, (pc_table *) table, with_columns, ticket, err);
}

int32_t
pc_service_call(const pc_session *session, const char *method, const char *path, const char *body,
				uint64_t *ticket, pc_error *err)
{
	return pcgo_service_call((pc_session *) session, (char *) method, (char *) path, (char *) body, ticket, err);
}

int32_t
pc_seal(const char *secret, char **sealed, pc_error *err)
{
	return pcgo_seal((char *) secret, sealed, err);
}

void
pc_free(void *p)
{
	free(p);
}

int32_t
pc_connections(pc_rows *rows, pc_error *err)
{
	return pcgo_connections(rows, err);
}

int32_t
pc_audit_record(const pc_audit_request *request, char **record, pc_error *err)
{
	return pcgo_audit_record((pc_audit_request *) request, record, err);
}

void
pc_transaction_end(int32_t committed)
{
	pcgo_transaction_end(committed);
}

void
pc_source_changed(int32_t object, uint32_t hash)
{
	pcgo_source_changed(object, hash);
}

int32_t
pc_disconnect(uint32_t server_oid)
{
	return pcgo_disconnect(server_oid);
}

void
pc_stop(void)
{
	pcgo_stop();
}

int32_t
pc_fault(int32_t kind, uint64_t *ticket, pc_error *err)
{
	return pcgo_fault(kind, ticket, err);
}
