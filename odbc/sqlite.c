/*
 * sqlite.c: SQLite past its driver, which offers no way to its own handle.
 */
#include <dlfcn.h>
#include <stdio.h>
#include "sqlite.h"

/* sqlite3.h */
#define CONFIG_MULTITHREAD	2
#define CONFIG_MEMSTATUS	9
#define LIMIT_ATTACHED		7
#define FCNTL_HAS_MOVED		20

static struct
{
	int			(*config) (int,...);
	int			(*auto_extension) (void (*) (void));
	void		(*interrupt) (struct sqlite3 *);
	int			(*limit) (struct sqlite3 *, int, int);
	int			(*share) (int);
	int			(*file_control) (struct sqlite3 *, const char *, int, void *);
	int			(*exec) (struct sqlite3 *, const char *, int (*) (void *, int, char **, char **), void *, char **);
	void		(*free) (void *);
}			api;

/* Of this thread: connects of others may wait for their files meanwhile. */
static __thread struct sqlite3 *opened;

/* SQLite itself tells of every database opened in the process, in the thread that opens it: an automatic extension. */
static int
on_open(struct sqlite3 *db, const char **message, const void *routines)
{
	(void) message;
	(void) routines;
	opened = db;
	return 0;
}

int
pc_sqlite_init(void *driver)
{
	*(void **) &api.config = dlsym(driver, "sqlite3_config");
	*(void **) &api.auto_extension = dlsym(driver, "sqlite3_auto_extension");
	*(void **) &api.interrupt = dlsym(driver, "sqlite3_interrupt");
	*(void **) &api.limit = dlsym(driver, "sqlite3_limit");
	*(void **) &api.share = dlsym(driver, "sqlite3_enable_shared_cache");
	*(void **) &api.file_control = dlsym(driver, "sqlite3_file_control");
	*(void **) &api.exec = dlsym(driver, "sqlite3_exec");
	*(void **) &api.free = dlsym(driver, "sqlite3_free");
	if (api.config == NULL || api.auto_extension == NULL || api.interrupt == NULL || api.limit == NULL ||
		api.share == NULL || api.file_control == NULL || api.exec == NULL || api.free == NULL || !pc_sqlite_find_functions(driver))
		return 0;

	/*
	 * A connection is used by one thread at a time, and nobody asks how much
	 * memory SQLite has: spare it a lock for each value and each allocation,
	 * a fifth of what a scan costs.  Refused, and then without effect, where
	 * somebody else in the process has used SQLite before.
	 */
	(void) api.config(CONFIG_MULTITHREAD);
	(void) api.config(CONFIG_MEMSTATUS, 0);
	return api.auto_extension((void (*) (void)) on_open) == 0;
}

struct sqlite3 *
pc_sqlite_opened(void)
{
	struct sqlite3 *db = opened;

	opened = NULL;
	return db;
}

void
pc_sqlite_share(int on)
{
	(void) api.share(on);
}

/* A statement must not reach other files. */
int
pc_sqlite_prepare(struct sqlite3 *db)
{
	(void) api.limit(db, LIMIT_ATTACHED, 0);
	return pc_sqlite_add_functions(db);
}

int
pc_sqlite_exec(struct sqlite3 *db, const char *sql, char *why, size_t room)
{
	char	   *message = NULL;
	int			rc = api.exec(db, sql, NULL, NULL, &message);

	snprintf(why, room, "%s", message != NULL ? message : "SQLite gave no reason");
	api.free(message);
	return rc;
}

int
pc_sqlite_moved(struct sqlite3 *db)
{
	int			moved = 0;

	return api.file_control(db, "main", FCNTL_HAS_MOVED, &moved) == 0 && moved;
}

/* The caller keeps db open meanwhile. */
void
pc_sqlite_interrupt(struct sqlite3 *db)
{
	api.interrupt(db);
}
