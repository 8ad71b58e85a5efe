/*
 * loader.h: how the Go library is called.
 *
 *		rc = PC_CALL(scan_next, scan, &block, &err);
 *
 * PC_CALL loads the library where needed (which may ereport) and blocks
 * signals around the call.  The arguments must not throw: work them out
 * before.
 */
#ifndef PORTCULLIS_LOADER_H
#define PORTCULLIS_LOADER_H

#include "portcullis.h"
#include "signals.h"

#define PC_FUNCTIONS(X) \
	X(abi) \
	X(start) \
	X(error_free) \
	X(validate_options) \
	X(check_driver) \
	X(push) \
	X(push_reply_free) \
	X(decide_cached) \
	X(decide_offer) \
	X(decide_encoded) \
	X(decide) \
	X(decide_result) \
	X(too_many) \
	X(scan_begin) \
	X(scan_sql) \
	X(scan_start) \
	X(scan_next) \
	X(scan_end) \
	X(ticket_result) \
	X(ticket_cancel) \
	X(rows_free) \
	X(import) \
	X(count) \
	X(service_call) \
	X(seal) \
	X(free) \
	X(connections) \
	X(audit_record) \
	X(transaction_end) \
	X(source_changed) \
	X(disconnect) \
	X(stop) \
	X(fault)

/* The members are named so that nobody calls one without PC_CALL by accident. */
struct pc_library
{
#define PC_MEMBER(name) __typeof__(pc_##name) *unmasked_##name;
	PC_FUNCTIONS(PC_MEMBER)
#undef PC_MEMBER
};

#define PC_CALL(fn, ...) \
	__extension__ ({ \
		const pc_library *lib_ = pc_engine(); \
		sigset_t	saved_; \
		__typeof__(lib_->unmasked_##fn(__VA_ARGS__)) result_; \
		pc_block_signals(&saved_); \
		result_ = lib_->unmasked_##fn(__VA_ARGS__); \
		pc_restore_signals(&saved_); \
		result_; \
	})

#define PC_CALL_VOID(fn, ...) \
	do { \
		const pc_library *lib_ = pc_engine(); \
		sigset_t	saved_; \
		pc_block_signals(&saved_); \
		lib_->unmasked_##fn(__VA_ARGS__); \
		pc_restore_signals(&saved_); \
	} while (0)

/* The name under which the library is looked for, from portcullis.library_path. */
extern char *pc_guc_library_path;
extern int	pc_guc_go_max_procs;
extern int	pc_guc_memory_limit_kb;

/* Keeps the library's file for the sessions to come; called at the server's start. */
extern void pc_hold_library(void);

/* Asks the operating system whether the client went away, and if so ends the session. */
extern void pc_check_client(void);

#endif
