/*
 * engine.h: what crosses between the shim (C, inside PostgreSQL) and the Go
 * library.  Plain structs; included by both.
 *
 * Rules (docs/architecture.md, "The seam"):
 *  - The library never calls PostgreSQL, the shim never waits inside the
 *    library.  What may wait returns at once with PC_WAIT or a ticket; the
 *    library writes to the process's eventfd whenever any ticket or scan has
 *    made progress, and the shim asks again.
 *  - Memory of a request belongs to the shim and is valid during the call;
 *    the library copies what it keeps.  Memory of a reply belongs to the
 *    library until the named free function is called.
 *  - Strings are UTF-8, NUL-terminated; NULL where "absent" makes sense.
 *  - Every function recovers panics and reports them as XX000.
 *  - All functions are called from the backend's main thread, all signals but
 *    the synchronous ones blocked.
 */
#ifndef PORTCULLIS_ENGINE_H
#define PORTCULLIS_ENGINE_H

#include <stdint.h>
#include "../odbc/block.h"

#define PC_ABI 8				/* bumped with every change of this file or of block.h */

/* Results of calls. */
#define PC_OK		0			/* done, reply filled */
#define PC_WAIT		1			/* not yet: wait for the eventfd, then ask again */
#define PC_END		2			/* scans: no more rows */
#define PC_FAILED	(-1)		/* pc_error filled */

/* An error as ereport wants it.  Strings are the library's: pc_error_free. */
typedef struct pc_error
{
	char		sqlstate[8];	/* five characters and NUL */
	char	   *message;
	char	   *detail;
	char	   *hint;
} pc_error;

typedef struct pc_option
{
	const char *name;
	const char *value;
} pc_option;

/* A remote source: a foreign server with the user mapping in force. */
typedef struct pc_source
{
	uint32_t	server_oid;
	uint32_t	mapping_oid;	/* 0: none */
	uint32_t	server_hash;	/* under which the syscache tells of changes */
	uint32_t	mapping_hash;	/* 0: none */
	const char *server_name;
	const pc_option *options;	/* of the server */
	int32_t		noptions;
	int32_t		nmapping;
	const pc_option *mapping;	/* of the user mapping */
} pc_source;

typedef struct pc_attribute
{
	int32_t		attnum;
	uint32_t	type_oid;
	int32_t		typmod;
	uint32_t	collation;
	const char *name;			/* local */
	const char *remote_name;	/* column_name option, else name */
	const char *type_name;		/* format_type_be with typmod */
	const char *base_type;		/* built-in name below domains ("int4", "text"); "enum" for enums */
	int32_t		not_null;
	int32_t		collation_kind; /* 'c' = C or POSIX, 'd' = other deterministic, 'n' = nondeterministic, 0 = not collatable */
} pc_attribute;

typedef struct pc_table
{
	uint32_t	relid;
	int32_t		nattributes;
	const char *local_schema;
	const char *local_name;
	const char *remote_schema;	/* schema_name option, NULL if none */
	const char *remote_name;	/* table_name option, else local name */
	const char *data_source;	/* data_source option (uuid), NULL if none */
	const pc_attribute *attributes; /* live ones only */
} pc_table;

/* What the library must know of an OID that a tree mentions. */
typedef struct pc_fact
{
	char		kind;			/* 'o' operator, 'f' function, 't' type, 'c' collation */
	char		volatility;		/* f, o: 'i', 's', 'v' */
	char		strict;			/* f, o */
	char		leakproof;		/* f, o */
	uint32_t	oid;
	uint32_t	left;			/* o: argument types; f: first two argument types */
	uint32_t	right;
	uint32_t	result;			/* o, f: result type; c: as collation_kind above */
	const char *schema;
	const char *name;			/* o: "="; f, t, c: name */
} pc_fact;

/*
 * An expression or list of expressions: nodeToString of a copy in which every
 * Const has been made NULL and its location set to its index in consts (text
 * by the type's output function under ISO DateStyle, postgres IntervalStyle,
 * extra_float_digits 3; NULL for SQL NULL).  Var.varno is 1 for the scanned
 * table.  Param (PARAM_EXTERN) paramid n is parameter n-1 of the scan.
 */
typedef struct pc_tree
{
	const char *text;
	const char *const *consts;
	const pc_fact *facts;
	int32_t		nconsts;
	int32_t		nfacts;
} pc_tree;

/* Who asks, in which circumstances. */
typedef struct pc_session
{
	uint32_t	role_oid;		/* of session_user */
	int32_t		pid;
	int32_t		governed;
	int32_t		lease_ms;		/* what is left of the node's lease, <= 0: none */
	int64_t		session_start;	/* microseconds since 1970 */
	uint64_t	epoch;			/* policy epoch in shared memory */
	const char *role;			/* session_user */
	const char *database;
	const char *client_address;	/* NULL: local */
	const char *application;
	const char *impersonation_iamid;	/* NULL: not impersonating */
	const char *impersonation_userid;
	const char *node;			/* name of this node */
	const char *service_url;	/* NULL: not configured */
	const char *token;			/* of the node, NULL: none yet */
} pc_session;

/* ---- start ---------------------------------------------------------- */

typedef struct pc_start_args
{
	int32_t		pg_major;
	int32_t		go_max_procs;
	int64_t		memory_limit;	/* bytes, GOMEMLIMIT */
	int64_t		block_bytes;	/* bound on one row block, bytes */
	int32_t		idle_seconds;	/* close remote connections idle for longer, 0: never */
	int32_t		max_abandoned;	/* connects that may hang in a driver, a session */
	const char *file_folder;	/* file databases must lie below it; NULL: none allowed */
	const char *key_file;		/* node key that unseals credentials; NULL: none */
	const char *ca_file;		/* CA that the service's TLS must verify against; NULL: system's */
	const char *allowed_hosts;	/* what sources may be connected to: portcullis.allowed_hosts */
} pc_start_args;

extern int32_t pc_abi(void);

/* Once a process.  *event_fd is an eventfd owned by the library. */
extern int32_t pc_start(const pc_start_args *args, int32_t *event_fd, pc_error *err);
extern void pc_error_free(pc_error *err);

/* ---- options -------------------------------------------------------- */

/*
 * Validates options of a catalog object: 's' server, 'm' user mapping,
 * 't' table, 'c' column.  PC_OK or PC_FAILED (HV00D with the valid names as
 * hint, HV024 for a bad value).
 */
extern int32_t pc_validate_options(int32_t object, const pc_option *options, int32_t n, pc_error *err);

/* Whether unixODBC knows a server's driver on this machine (reads odbcinst.ini): PC_OK or PC_FAILED (HV024). */
extern int32_t pc_check_driver(const char *driver, pc_error *err);

/* ---- planning: pure, no I/O ------------------------------------------ */

typedef struct pc_push_reply
{
	int32_t		nquals;
	uint8_t    *push;			/* nquals: 1 = the source computes it exactly */
	char	  **why;			/* nquals: why it stays here, NULL when pushed */
} pc_push_reply;

/* quals is a List of boolean expressions over the one table. */
extern int32_t pc_push(const pc_source *source, const pc_table *table, const pc_tree *quals,
					   pc_push_reply *reply, pc_error *err);
extern void pc_push_reply_free(pc_push_reply *reply);

/* ---- decisions ------------------------------------------------------- */

typedef struct pc_decision
{
	uint64_t	id;				/* names it in pc_scan_request; backend-local, 0: denied */
	uint64_t	digest;			/* equal digests: same answer */
	int32_t		allowed;
	int32_t		max_statements; /* so many that name limit_key may run at once on the node, 0: any number */
	uint64_t	limit_key;		/* names person and source */
	pc_error	denial;			/* filled where not allowed; the shim's message names the table */
} pc_decision;

/*
 * Where every answer is cached, PC_OK and a complete ticket.  Else PC_END,
 * and keys is filled, unless NULL, with n + 1 keys of 32 bytes: of each
 * decision, and of the question as a whole.  A key is the SHA-256 of
 * everything that the decision depends on, the epoch of the session included.
 */
extern int32_t pc_decide_cached(const pc_session *session, const char *const *data_sources, int32_t n,
								uint64_t *ticket, uint8_t *keys, pc_error *err);

/* Puts into the cache, for max_age_ms, what pc_decide_encoded gave another session. PC_END: it is of no use. */
extern int32_t pc_decide_offer(const pc_session *session, const char *data_source,
							   const char *bytes, int32_t length, int64_t max_age_ms);

/*
 * The cached decision for other sessions; *bytes is freed by pc_free.  It may
 * be kept for max_age_ms from when it was asked for.  PC_END: there is none.
 */
extern int32_t pc_decide_encoded(const pc_session *session, const char *data_source,
								 char **bytes, int32_t *length, int64_t *max_age_ms);

/*
 * Decides all tables of a statement in one call.  The ticket is complete at
 * once when every answer is cached.
 */
extern int32_t pc_decide(const pc_session *session, const char *const *data_sources, int32_t n,
						 uint64_t *ticket, pc_error *err);

/* PC_OK fills out[n]; PC_WAIT; PC_FAILED (fail closed).  PC_OK and PC_FAILED free the ticket. */
extern int32_t pc_decide_result(uint64_t ticket, pc_decision *out, int32_t n, pc_error *err);

/* PC_FAILED: why no further statement may start under the decision's max_statements (53300). */
extern int32_t pc_too_many(uint64_t decision, pc_error *err);

/* ---- scans ------------------------------------------------------------ */

typedef struct pc_scan_request
{
	const pc_session *session;
	const pc_source *source;
	const pc_table *table;
	const int32_t *wanted;		/* attnums whose values the query needs, in block column order */
	int32_t		nwanted;
	int32_t		explain_only;
	const pc_tree *quals;		/* those that pc_push allowed */
	uint64_t	decision;		/* from pc_decide; 0: ungoverned session */
	int64_t		limit;			/* at most so many rows are needed, -1: all.  Used only where exact */
	int64_t		query_id;		/* identifies the statement: a comment in the remote SQL, scans of one
								 * statement share the remote transaction */
} pc_scan_request;

/*
 * Composes the remote statement; nothing is sent.  With explain_only,
 * pc_scan_sql may be asked and the scan must be ended.
 */
extern int32_t pc_scan_begin(const pc_scan_request *request, uint64_t *scan, pc_error *err);

/* The remote SQL (with ? for parameters); valid until pc_scan_end.  NULL for governed scans. */
extern const char *pc_scan_sql(uint64_t scan);

typedef struct pc_param
{
	const char *text;			/* by the output function, NULL: SQL NULL */
	uint32_t	type_oid;
	int32_t		spare;
} pc_param;

/* Starts, or starts anew after a rescan: connects where needed and executes.  Returns at once. */
extern int32_t pc_scan_start(uint64_t scan, const pc_param *params, int32_t n, pc_error *err);

/* PC_OK: *block is valid until the next call on this scan.  PC_WAIT, PC_END, PC_FAILED. */
extern int32_t pc_scan_next(uint64_t scan, pc_block **block, pc_error *err);

typedef struct pc_scan_stats
{
	int64_t		rows;
	int64_t		bytes;
} pc_scan_stats;

/* Cancels what runs and frees the scan.  Never waits.  stats may be NULL. */
extern void pc_scan_end(uint64_t scan, pc_scan_stats *stats);

/* ---- other work that may wait ------------------------------------------ */

/* A table of strings: cell(r, c) = cells[r * ncols + c], NULL = SQL NULL. */
typedef struct pc_rows
{
	int64_t		nrows;
	int32_t		ncols;
	int32_t		spare;
	char	  **cells;
} pc_rows;

extern int32_t pc_ticket_result(uint64_t ticket, pc_rows *rows, pc_error *err);
extern void pc_ticket_cancel(uint64_t ticket);
extern void pc_rows_free(pc_rows *rows);

typedef struct pc_import_request
{
	const pc_source *source;
	const char *remote_schema;
	const char *local_schema;
	int32_t		list_kind;		/* 0 all, 1 LIMIT TO, 2 EXCEPT */
	int32_t		nnames;
	const char *const *names;
	const pc_option *options;	/* import_collate, import_not_null, case … */
	int32_t		noptions;
	int32_t		spare;
} pc_import_request;

/*
 * Rows of two columns: CREATE FOREIGN TABLE, NULL for a table that is left out,
 * and a warning of what is left out, NULL for none.
 */
extern int32_t pc_import(const pc_import_request *request, uint64_t *ticket, pc_error *err);

/* One row: row count (exact), for ANALYZE by immutasys.analyze() and use_remote_estimate.
 * Then one row a column: column name, distinct values, null fraction. */
extern int32_t pc_count(const pc_source *source, const pc_table *table, int32_t with_columns,
						uint64_t *ticket, pc_error *err);

/* Calls the policy service with the node's token.  One row: HTTP status, body. */
extern int32_t pc_service_call(const pc_session *session, const char *method, const char *path,
							   const char *body, uint64_t *ticket, pc_error *err);

/* Seals a secret with the node's key; *sealed is freed by free(3) through pc_free. */
extern int32_t pc_seal(const char *secret, char **sealed, pc_error *err);
extern void pc_free(void *p);

/* Columns: server, driver, state (idle, busy, closing, abandoned), opened (epoch µs), last used, statements, in transaction.  No waiting. */
extern int32_t pc_connections(pc_rows *rows, pc_error *err);

/* ---- audit --------------------------------------------------------------- */

typedef struct pc_audit_request
{
	const pc_session *session;
	const char *kind;			/* intent, completion, denied, login */
	const char *record_id;		/* uuid; the completion carries its intent's */
	const char *statement;		/* NULL for completion */
	int64_t		query_id;
	const uint64_t *scans;		/* intent: the scans, for decisions and remote SQL digests */
	int32_t		nscans;
	int32_t		spare;
	int64_t		rows;			/* completion: rows and bytes that came back */
	int64_t		bytes;
	const char *sqlstate;		/* completion, denied; NULL: success */
	const char *message;		/* denied: the reason */
	const char *const *tables;	/* denied: data source ids or names */
	int32_t		ntables;
	int32_t		spare2;
} pc_audit_request;

/* One line of JSON without line feed; pc_free. */
extern int32_t pc_audit_record(const pc_audit_request *request, char **record, pc_error *err);

/* ---- ends ---------------------------------------------------------------- */

/* The local transaction ended: remote transactions end too (in the background). */
extern void pc_transaction_end(int32_t committed);

/* Close idle connections (portcullis_disconnect, DISCARD ALL): number closed. */
extern int32_t pc_disconnect(uint32_t server_oid);

/*
 * Servers ('s') or user mappings ('m') of a hash were changed or dropped, 0:
 * any may have been.  Their connections are closed once no transaction needs them.
 */
extern void pc_source_changed(int32_t object, uint32_t hash);

/* The process exits: cancel everything; waits at most 100 ms for threads inside drivers. */
extern void pc_stop(void);

/* For tests: 'p' panics in this call, 'g' panics in a goroutine behind a ticket. */
extern int32_t pc_fault(int32_t kind, uint64_t *ticket, pc_error *err);

#endif
