/*
 * sqlite.h: what is asked of SQLite past its ODBC driver: interruption, limits,
 * and functions through which values leave it exactly.
 */
#ifndef PORTCULLIS_SQLITE_H
#define PORTCULLIS_SQLITE_H

#include <stddef.h>

struct sqlite3;

/* Finds SQLite's functions in the driver and its libraries; 0 if one is missing. */
int			pc_sqlite_init(void *driver);

/*
 * Forgets the last database that this thread opened, and returns the one
 * opened since, NULL if none was.
 */
struct sqlite3 *pc_sqlite_opened(void);

/*
 * Connections opened from now on share the cache of their file, if on, and
 * with it the state that they see as long as one of them is in a transaction.
 * Others in the process may open theirs as they like.
 */
void		pc_sqlite_share(int on);

/* Forbids ATTACH and adds our functions; 0 or SQLite's error code. */
int			pc_sqlite_prepare(struct sqlite3 *db);

/* Runs statements to their end, rows dropped; 0, or SQLite's error code and the reason. */
int			pc_sqlite_exec(struct sqlite3 *db, const char *sql, char *why, size_t room);

/* Has the file that db reads lost its name, to another file or none? */
int			pc_sqlite_moved(struct sqlite3 *db);

void		pc_sqlite_interrupt(struct sqlite3 *db);

/* sqlite_values.c: adds the functions of values. */
int			pc_sqlite_add_functions(struct sqlite3 *db);
int			pc_sqlite_find_functions(void *driver);

#endif
