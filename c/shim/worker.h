/*
 * worker.h: the parts of the main worker: its loop (worker.c), the daemon
 * process and its control lines (daemon.c, control.c), the spool
 * (spoolfile.h), the reading of the configuration (configreader.c).
 */
#ifndef PORTCULLIS_WORKER_H
#define PORTCULLIS_WORKER_H

#include "postgres.h"
#include "fmgr.h"

/* worker.c */
extern void pc_worker_register(void);
extern PGDLLEXPORT void pc_worker_main(Datum arg) __attribute__((noreturn));

/* configreader.c */
extern PGDLLEXPORT void pc_config_main(Datum arg);
extern uint64 pc_config_tend(void);	/* starts the reader when due; ms until it must be called again */

/* daemon.c: one child at most */
extern int	pc_daemon_socket(void); /* -1: not running */
extern uint64 pc_daemon_tend(void); /* starts and reaps; ms until it must be called again */
extern void pc_daemon_stop(void);
extern void pc_daemon_lost(const char *why);	/* its socket ended: kill and reap */

/* control.c: lines to and from the daemon */
extern void pc_control_reset(void); /* a new daemon: forget what was half sent or read */
extern void pc_control_readable(void);
extern void pc_control_send(void);	/* composes what is due and writes what the socket takes */
extern void pc_control_shorten_lease(void); /* portcullis.lease may have become shorter */
extern bool pc_control_pending(void);	/* bytes are left that the socket did not take */

/* spoolfile.c */
extern void pc_spoolfile_recover(void); /* at the worker's start */
extern bool pc_spoolfile_flush(void);	/* empties the ring; false: failed, to be tried again */
extern bool pc_spoolfile_pending(void);
extern void pc_spoolfile_shipped(uint64 segment, uint64 offset);
extern const char *pc_spool_directory(void);	/* segment.c */

#endif
