/*
 * signals.h: keep PostgreSQL's signals out of the Go library.
 *
 * Threads inherit the mask of the thread that makes them, and a handler of
 * PostgreSQL's that ran while the backend's thread is inside Go would run on
 * a goroutine's stack.  So everything but the synchronous signals is blocked
 * around dlopen and around every call.
 */
#ifndef PORTCULLIS_SIGNALS_H
#define PORTCULLIS_SIGNALS_H

#include <signal.h>
#include <pthread.h>

static inline void
pc_block_signals(sigset_t *saved)
{
	sigset_t	mask;

	sigfillset(&mask);
	sigdelset(&mask, SIGSEGV);
	sigdelset(&mask, SIGBUS);
	sigdelset(&mask, SIGFPE);
	sigdelset(&mask, SIGILL);
	pthread_sigmask(SIG_SETMASK, &mask, saved);
}

static inline void
pc_restore_signals(const sigset_t *saved)
{
	pthread_sigmask(SIG_SETMASK, saved, NULL);
}

#endif
