/*
 * point: the baseline of the warm point query.  Sends a statement straight
 * through an ODBC driver many times, reads its rows as text, and prints the
 * median in nanoseconds from sending to the end of the rows.
 *
 * point CONNECTION SQL TIMES
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <sql.h>
#include <sqlext.h>

static void
fail(SQLSMALLINT kind, SQLHANDLE handle, const char *what)
{
	SQLCHAR		state[6] = "",
				message[1024] = "";
	SQLINTEGER	native = 0;

	SQLGetDiagRec(kind, handle, 1, state, &native, message, sizeof(message), NULL);
	fprintf(stderr, "%s: %s %s\n", what, state, message);
	exit(1);
}

static void
check(SQLRETURN rc, SQLSMALLINT kind, SQLHANDLE handle, const char *what)
{
	if (!SQL_SUCCEEDED(rc))
		fail(kind, handle, what);
}

static void
run(SQLHSTMT stmt, const char *sql)
{
	SQLSMALLINT ncolumns = 0;
	SQLRETURN	rc;

	check(SQLExecDirect(stmt, (SQLCHAR *) sql, SQL_NTS), SQL_HANDLE_STMT, stmt, "execute");
	check(SQLNumResultCols(stmt, &ncolumns), SQL_HANDLE_STMT, stmt, "columns");
	while ((rc = SQLFetch(stmt)) != SQL_NO_DATA)
	{
		check(rc, SQL_HANDLE_STMT, stmt, "fetch");
		for (SQLSMALLINT i = 1; i <= ncolumns; i++)
		{
			char		text[1024];
			SQLLEN		length;

			check(SQLGetData(stmt, i, SQL_C_CHAR, text, sizeof(text), &length), SQL_HANDLE_STMT, stmt, "get");
		}
	}
	SQLCloseCursor(stmt);
}

static int64_t
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t) t.tv_sec * 1000000000 + t.tv_nsec;
}

static int
by_size(const void *a, const void *b)
{
	int64_t		x = *(const int64_t *) a,
				y = *(const int64_t *) b;

	return (x > y) - (x < y);
}

static void
repeat(SQLHSTMT stmt, const char *sql, int times)
{
	int64_t    *took = malloc(sizeof(int64_t) * times);

	if (took == NULL)
		abort();
	for (int i = 0; i < times; i++)
	{
		int64_t		begun = now();

		run(stmt, sql);
		took[i] = now() - begun;
	}
	qsort(took, times, sizeof(int64_t), by_size);
	printf("%lld\n", (long long) took[times / 2]);
	free(took);
}

int
main(int argc, char **argv)
{
	SQLHENV		env = NULL;
	SQLHDBC		dbc = NULL;
	SQLHSTMT	stmt = NULL;
	int			times = argc == 4 ? atoi(argv[3]) : 0;

	if (times < 1)
	{
		fprintf(stderr, "usage: point CONNECTION SQL TIMES\n");
		return 2;
	}
	SQLAllocHandle(SQL_HANDLE_ENV, SQL_NULL_HANDLE, &env);
	SQLSetEnvAttr(env, SQL_ATTR_ODBC_VERSION, (SQLPOINTER) SQL_OV_ODBC3, 0);
	SQLAllocHandle(SQL_HANDLE_DBC, env, &dbc);
	check(SQLDriverConnect(dbc, NULL, (SQLCHAR *) argv[1], SQL_NTS, NULL, 0, NULL, SQL_DRIVER_NOPROMPT), SQL_HANDLE_DBC, dbc, "connect");
	check(SQLAllocHandle(SQL_HANDLE_STMT, dbc, &stmt), SQL_HANDLE_DBC, dbc, "statement");
	repeat(stmt, argv[2], times);
	SQLFreeHandle(SQL_HANDLE_STMT, stmt);
	SQLDisconnect(dbc);
	SQLFreeHandle(SQL_HANDLE_DBC, dbc);
	SQLFreeHandle(SQL_HANDLE_ENV, env);
	return 0;
}
