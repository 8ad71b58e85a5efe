/*
 * cloop: the baseline that scans are measured against.  Reads every row of a
 * statement through unixODBC in blocks of 1,000 rows, columns bound by their
 * described type, and prints rows, seconds of execute and fetch, and the
 * largest resident size in kB (VmHWM: getrusage would count the parent's too).
 *
 *   cloop CONNECTION-STRING SQL [ROWS-A-BLOCK]
 *
 * Build: cc -O2 -o cloop cloop.c -lodbc
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sql.h>
#include <sqlext.h>

#define BLOCK_ROWS	1000
#define TEXT_WIDTH	256			/* for texts of unknown or greater length */

static int
fail(SQLSMALLINT type, SQLHANDLE h, const char *what)
{
	SQLCHAR		state[6] = "";
	SQLCHAR		text[1024] = "";
	SQLINTEGER	native = 0;
	SQLSMALLINT n;

	SQLGetDiagRec(type, h, 1, state, &native, text, sizeof(text), &n);
	fprintf(stderr, "%s: %s (SQLSTATE %s, native code %d)\n", what, text, state, (int) native);
	return 1;
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static long
peak_kb(void)
{
	FILE	   *f = fopen("/proc/self/status", "r");
	char		line[256];
	long		kb = -1;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "VmHWM: %ld", &kb) == 1)
			break;
	if (f != NULL)
		fclose(f);
	return kb;
}

/* The C type and width to bind a column with. */
static void
choose(SQLHSTMT stmt, SQLUSMALLINT col, SQLSMALLINT *ctype, SQLLEN *width)
{
	SQLSMALLINT type = 0,
				digits,
				nullable;
	SQLULEN		size = 0;

	SQLDescribeCol(stmt, col, NULL, 0, NULL, &type, &size, &digits, &nullable);
	switch (type)
	{
		case SQL_TINYINT:
		case SQL_SMALLINT:
		case SQL_INTEGER:
		case SQL_BIGINT:
			*ctype = SQL_C_SBIGINT;
			*width = sizeof(int64_t);
			break;
		case SQL_REAL:
		case SQL_FLOAT:
		case SQL_DOUBLE:
			*ctype = SQL_C_DOUBLE;
			*width = sizeof(double);
			break;
		case SQL_BINARY:
		case SQL_VARBINARY:
		case SQL_LONGVARBINARY:
			*ctype = SQL_C_BINARY;
			*width = TEXT_WIDTH;
			break;
		default:
			*ctype = SQL_C_CHAR;
			*width = size > 0 && size < TEXT_WIDTH / 4 ? (SQLLEN) size * 4 + 1 : TEXT_WIDTH;
	}
}

static int
read_all(SQLHSTMT stmt, SQLULEN rows, long long *total)
{
	SQLUSMALLINT *status = calloc(rows, sizeof(SQLUSMALLINT));
	SQLULEN		fetched = 0;
	SQLSMALLINT ncols = 0;
	SQLRETURN	rc;

	SQLNumResultCols(stmt, &ncols);
	if (status == NULL || ncols == 0 ||
		!SQL_SUCCEEDED(SQLSetStmtAttr(stmt, SQL_ATTR_ROW_ARRAY_SIZE, (SQLPOINTER) rows, 0)) ||
		!SQL_SUCCEEDED(SQLSetStmtAttr(stmt, SQL_ATTR_ROW_STATUS_PTR, status, 0)) ||
		!SQL_SUCCEEDED(SQLSetStmtAttr(stmt, SQL_ATTR_ROWS_FETCHED_PTR, &fetched, 0)))
		return fail(SQL_HANDLE_STMT, stmt, "setting up the block");
	for (SQLUSMALLINT i = 1; i <= ncols; i++)
	{
		SQLSMALLINT ctype;
		SQLLEN		width;
		char	   *data;
		SQLLEN	   *ind;

		choose(stmt, i, &ctype, &width);
		data = malloc(rows * (size_t) width);
		ind = malloc(rows * sizeof(SQLLEN));
		if (data == NULL || ind == NULL ||
			!SQL_SUCCEEDED(SQLBindCol(stmt, i, ctype, data, width, ind)))
			return fail(SQL_HANDLE_STMT, stmt, "binding");
	}
	while ((rc = SQLFetch(stmt)) != SQL_NO_DATA)
	{
		if (!SQL_SUCCEEDED(rc))
			return fail(SQL_HANDLE_STMT, stmt, "fetching");
		*total += (long long) fetched;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	SQLHENV		env;
	SQLHDBC		dbc;
	SQLHSTMT	stmt;
	long long	total = 0;
	double		start;
	long		rows = argc > 3 ? atol(argv[3]) : BLOCK_ROWS;

	if (argc < 3 || rows < 1)
	{
		fprintf(stderr, "usage: %s CONNECTION-STRING SQL [ROWS-A-BLOCK]\n", argv[0]);
		return 2;
	}
	SQLAllocHandle(SQL_HANDLE_ENV, SQL_NULL_HANDLE, &env);
	SQLSetEnvAttr(env, SQL_ATTR_ODBC_VERSION, (SQLPOINTER) SQL_OV_ODBC3, 0);
	SQLAllocHandle(SQL_HANDLE_DBC, env, &dbc);
	if (!SQL_SUCCEEDED(SQLDriverConnect(dbc, NULL, (SQLCHAR *) argv[1], SQL_NTS, NULL, 0, NULL, SQL_DRIVER_NOPROMPT)))
		return fail(SQL_HANDLE_DBC, dbc, "connecting");
	SQLAllocHandle(SQL_HANDLE_STMT, dbc, &stmt);
	start = now();
	if (!SQL_SUCCEEDED(SQLExecDirect(stmt, (SQLCHAR *) argv[2], SQL_NTS)))
		return fail(SQL_HANDLE_STMT, stmt, "executing");
	if (read_all(stmt, (SQLULEN) rows, &total) != 0)
		return 1;
	start = now() - start;
	printf("rows %lld seconds %.4f max_rss_kb %ld\n", total, start, peak_kb());
	SQLFreeHandle(SQL_HANDLE_STMT, stmt);
	SQLDisconnect(dbc);
	SQLFreeHandle(SQL_HANDLE_DBC, dbc);
	SQLFreeHandle(SQL_HANDLE_ENV, env);
	return 0;
}
