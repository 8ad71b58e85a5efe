/*
 * liar.c: an ODBC driver of one column that misbehaves in the ways that drivers
 * were found to.  The text of a statement names the way, and the connection
 * string's Extensions is its SQL_GETDATA_EXTENSIONS.
 *
 *	counter		SQL_ATTR_ROWS_FETCHED_PTR is never written
 *	untouched	SQL_C_SBIGINT: SQL_SUCCESS, and the buffer stays as it was
 *	cut			a long value in part, plain SQL_SUCCESS, its length in the indicator
 *	cutunknown	likewise, with SQL_NO_TOTAL
 *	short		SQLGetData ends sooner than the length that was told
 *	slow		the first fetch takes a tenth of a second
 *	endless		SQL_SUCCESS for ever, without a row
 *	endlessuncounted	likewise, and the counter is never written
 *
 * "order" gives three columns (number, long text, number) and refuses
 * SQLGetData out of order or for a bound column.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sql.h>
#include <sqlext.h>

#define ROWS		5
#define LONG		10000
#define EXPORT		__attribute__((visibility("default")))

typedef struct
{
	SQLUINTEGER extensions;
} connection;

typedef struct
{
	connection *of;
	char		way[32];
	SQLULEN		array;
	SQLULEN    *fetched;
	SQLUSMALLINT *status;
	struct
	{
		SQLSMALLINT type;
		char	   *to;
		SQLLEN		room;
		SQLLEN	   *ind;
	}			bound[4];
	int			row;			/* rows given so far */
	int			at;				/* column of the last SQLGetData */
	size_t		got;			/* bytes of it */
} statement;

static int
is(const statement *s, const char *way)
{
	return strcmp(s->way, way) == 0;
}

static int
is_endless(const statement *s)
{
	return strncmp(s->way, "endless", strlen("endless")) == 0;
}

static int
columns(const statement *s)
{
	return is(s, "order") ? 3 : 1;
}

static int
is_long(const statement *s, int column)
{
	return is(s, "order") ? column == 2 : !is(s, "counter") && !is(s, "untouched") && !is_endless(s);
}

/* What column holds in the present row: a number as text, or a long text. */
static size_t
content(const statement *s, int column, char *to)
{
	if (!is_long(s, column))
		return (size_t) sprintf(to, "%d", 100 * column + s->row);
	memset(to, 'a' + s->row, LONG);
	to[LONG] = '\0';
	return LONG;
}

/* Gives what is left of a value, from "from" on. */
static SQLRETURN
give(const statement *s, int column, SQLSMALLINT type, char *to, SQLLEN room, SQLLEN *ind, size_t *from)
{
	char		all[LONG + 1];
	size_t		length = content(s, column, all);
	size_t		left = length - *from;
	size_t		n;

	if (is(s, "short") && *from > 0 && left > 1000)
		left = 1000;
	n = (size_t) room > left ? left : (size_t) room - 1;
	if (type == SQL_C_SBIGINT)
	{
		*ind = sizeof(long long);
		if (!is(s, "untouched"))
			*(long long *) to = atoll(all);
		return SQL_SUCCESS;
	}
	if (*from > 0 && left == 0)
		return SQL_NO_DATA;
	memcpy(to, all + *from, n);
	to[n] = '\0';
	*ind = is(s, "cutunknown") && n < left ? SQL_NO_TOTAL : (SQLLEN) left;
	*from += n;
	return SQL_SUCCESS;
}

EXPORT SQLRETURN SQL_API
SQLAllocHandle(SQLSMALLINT type, SQLHANDLE parent, SQLHANDLE *out)
{
	*out = calloc(1, type == SQL_HANDLE_STMT ? sizeof(statement) : sizeof(connection));
	if (type == SQL_HANDLE_STMT && *out != NULL)
	{
		((statement *) *out)->of = parent;
		((statement *) *out)->array = 1;
	}
	return *out != NULL ? SQL_SUCCESS : SQL_ERROR;
}

EXPORT SQLRETURN SQL_API
SQLFreeHandle(SQLSMALLINT type, SQLHANDLE handle)
{
	(void) type;
	free(handle);
	return SQL_SUCCESS;
}

EXPORT SQLRETURN SQL_API
SQLDriverConnect(SQLHDBC dbc, SQLHWND window, SQLCHAR *in, SQLSMALLINT length, SQLCHAR *out, SQLSMALLINT room,
				 SQLSMALLINT *needed, SQLUSMALLINT completion)
{
	const char *extensions = strstr((const char *) in, "Extensions=");

	(void) window, (void) length, (void) out, (void) room, (void) needed, (void) completion;
	if (extensions != NULL)
		((connection *) dbc)->extensions = (SQLUINTEGER) atoi(extensions + strlen("Extensions="));
	return SQL_SUCCESS;
}

EXPORT SQLRETURN SQL_API
SQLDisconnect(SQLHDBC dbc)
{
	(void) dbc;
	return SQL_SUCCESS;
}

EXPORT SQLRETURN SQL_API
SQLEndTran(SQLSMALLINT type, SQLHANDLE handle, SQLSMALLINT how)
{
	(void) type, (void) handle, (void) how;
	return SQL_SUCCESS;
}

EXPORT SQLRETURN SQL_API
SQLGetInfo(SQLHDBC dbc, SQLUSMALLINT what, SQLPOINTER value, SQLSMALLINT room, SQLSMALLINT *length)
{
	(void) room, (void) length;
	if (what == SQL_GETDATA_EXTENSIONS)
	{
		*(SQLUINTEGER *) value = ((connection *) dbc)->extensions;
		return SQL_SUCCESS;
	}
	if (what == SQL_DRIVER_ODBC_VER)
	{
		strcpy(value, "03.50");
		return SQL_SUCCESS;
	}
	return SQL_ERROR;
}

EXPORT SQLRETURN SQL_API
SQLSetConnectAttr(SQLHDBC dbc, SQLINTEGER what, SQLPOINTER value, SQLINTEGER length)
{
	(void) dbc, (void) what, (void) value, (void) length;
	return SQL_SUCCESS;
}

EXPORT SQLRETURN SQL_API
SQLGetStmtAttr(SQLHSTMT stmt, SQLINTEGER what, SQLPOINTER value, SQLINTEGER room, SQLINTEGER *length)
{
	(void) what, (void) room, (void) length;
	*(SQLPOINTER *) value = stmt;	/* the driver manager asks for descriptors */
	return SQL_SUCCESS;
}

EXPORT SQLRETURN SQL_API
SQLSetStmtAttr(SQLHSTMT stmt, SQLINTEGER what, SQLPOINTER value, SQLINTEGER length)
{
	statement  *s = stmt;

	(void) length;
	if (what == SQL_ATTR_ROW_ARRAY_SIZE)
		s->array = (SQLULEN) value;
	else if (what == SQL_ATTR_ROW_STATUS_PTR)
		s->status = value;
	else if (what == SQL_ATTR_ROWS_FETCHED_PTR)
		s->fetched = value;
	return SQL_SUCCESS;
}

EXPORT SQLRETURN SQL_API
SQLExecDirect(SQLHSTMT stmt, SQLCHAR *sql, SQLINTEGER length)
{
	statement  *s = stmt;

	(void) length;
	snprintf(s->way, sizeof(s->way), "%s", (const char *) sql);
	return SQL_SUCCESS;
}

EXPORT SQLRETURN SQL_API
SQLNumResultCols(SQLHSTMT stmt, SQLSMALLINT *n)
{
	*n = (SQLSMALLINT) columns(stmt);
	return SQL_SUCCESS;
}

EXPORT SQLRETURN SQL_API
SQLBindCol(SQLHSTMT stmt, SQLUSMALLINT column, SQLSMALLINT type, SQLPOINTER to, SQLLEN room, SQLLEN *ind)
{
	statement  *s = stmt;

	s->bound[column].type = type;
	s->bound[column].to = to;
	s->bound[column].room = room;
	s->bound[column].ind = ind;
	return SQL_SUCCESS;
}

EXPORT SQLRETURN SQL_API
SQLFetch(SQLHSTMT stmt)
{
	statement  *s = stmt;
	SQLULEN		n = 0;

	s->at = 0;
	if (is(s, "slow") && s->row == 0)
		(void) usleep(100000);
	if (s->row == ROWS)
		return SQL_NO_DATA;
	if (is_endless(s))
	{
		if (s->fetched != NULL && !is(s, "endlessuncounted"))
			*s->fetched = 0;
		return SQL_SUCCESS;
	}
	for (; n < s->array && s->row < ROWS; n++)
	{
		s->row++;
		for (int c = 1; c <= columns(s); c++)
		{
			size_t		from = 0;

			if (s->bound[c].to != NULL)
				(void) give(s, c, s->bound[c].type, s->bound[c].to + n * (SQLULEN) s->bound[c].room, s->bound[c].room, s->bound[c].ind + n, &from);
		}
		if (s->status != NULL)
			s->status[n] = SQL_ROW_SUCCESS;
	}
	if (s->status != NULL)
		for (SQLULEN i = n; i < s->array; i++)
			s->status[i] = SQL_ROW_NOROW;
	if (s->fetched != NULL && !is(s, "counter"))
		*s->fetched = n;
	return SQL_SUCCESS;
}

EXPORT SQLRETURN SQL_API
SQLGetData(SQLHSTMT stmt, SQLUSMALLINT column, SQLSMALLINT type, SQLPOINTER to, SQLLEN room, SQLLEN *ind)
{
	statement  *s = stmt;

	if (is_endless(s))
		return SQL_SUCCESS;
	if (!(s->of->extensions & SQL_GD_ANY_ORDER) && (int) column < s->at)
		return SQL_ERROR;
	if (!(s->of->extensions & SQL_GD_BOUND) && s->bound[column].to != NULL)
		return SQL_ERROR;
	for (int c = column; c <= 3 && !(s->of->extensions & SQL_GD_ANY_COLUMN); c++)
		if (s->bound[c].to != NULL)
			return SQL_ERROR;
	if ((int) column != s->at)
		s->got = 0;
	s->at = column;
	return give(s, column, type, to, room, ind, &s->got);
}

EXPORT SQLRETURN SQL_API
SQLMoreResults(SQLHSTMT stmt)
{
	(void) stmt;
	return SQL_NO_DATA;
}

EXPORT SQLRETURN SQL_API
SQLFreeStmt(SQLHSTMT stmt, SQLUSMALLINT what)
{
	(void) stmt, (void) what;
	return SQL_SUCCESS;
}

/* Called of a driver that is known to abort in it, it does. */
EXPORT SQLRETURN SQL_API
SQLCancel(SQLHSTMT stmt)
{
	(void) stmt;
	abort();
}

EXPORT SQLRETURN SQL_API
SQLGetDiagRec(SQLSMALLINT type, SQLHANDLE handle, SQLSMALLINT record, SQLCHAR *state, SQLINTEGER *native,
			  SQLCHAR *text, SQLSMALLINT room, SQLSMALLINT *length)
{
	(void) type, (void) handle;
	if (record > 1)
		return SQL_NO_DATA;
	strcpy((char *) state, "HY000");
	if (native != NULL)
		*native = 0;
	if (text != NULL && room > 0)
		snprintf((char *) text, (size_t) room, "refused");
	if (length != NULL)
		*length = (SQLSMALLINT) strlen("refused");
	return SQL_SUCCESS;
}
