/*
 * exec.c: prepare, bind and execute; text as UTF-16 for drivers with W entry
 * points, as UTF-8 for drivers without.
 */
#include "fetch.h"

SQLRETURN
pc_prepare(SQLHSTMT stmt, int wide, const void *sql, int32_t len)
{
	if (wide)
		return SQLPrepareW(stmt, (SQLWCHAR *) sql, len);
	return SQLPrepare(stmt, (SQLCHAR *) sql, len);
}

SQLRETURN
pc_exec_direct(SQLHSTMT stmt, int wide, const void *sql, int32_t len)
{
	if (wide)
		return SQLExecDirectW(stmt, (SQLWCHAR *) sql, len);
	return SQLExecDirect(stmt, (SQLCHAR *) sql, len);
}

static SQLRETURN
bind_params(SQLHSTMT stmt, pc_param *params, int32_t n)
{
	for (int32_t i = 0; i < n; i++)
	{
		pc_param   *p = &params[i];
		SQLRETURN	rc;

		p->ind = p->len;
		rc = SQLBindParameter(stmt, (SQLUSMALLINT) (i + 1), SQL_PARAM_INPUT,
							  (SQLSMALLINT) p->ctype, (SQLSMALLINT) p->sqltype,
							  (SQLULEN) p->size, 0, p->data,
							  p->len < 0 ? 0 : p->len, &p->ind);
		if (!SQL_SUCCEEDED(rc))
			return rc;
	}
	return SQL_SUCCESS;
}

/* Prepares, binds and executes; the first failure is returned. */
SQLRETURN
pc_prepare_execute(SQLHSTMT stmt, int wide, const void *sql, int32_t len, pc_param *params, int32_t n)
{
	SQLRETURN	rc = pc_prepare(stmt, wide, sql, len);

	if (SQL_SUCCEEDED(rc))
		rc = bind_params(stmt, params, n);
	if (SQL_SUCCEEDED(rc))
		rc = SQLExecute(stmt);
	return rc;
}

/* Sets a connection attribute that is a number. */
SQLRETURN
pc_set_connect(SQLHDBC dbc, SQLINTEGER attribute, SQLULEN value)
{
	return SQLSetConnectAttr(dbc, attribute, (SQLPOINTER) value, SQL_IS_UINTEGER);
}

SQLRETURN
pc_odbc3(SQLHENV env)
{
	return SQLSetEnvAttr(env, SQL_ATTR_ODBC_VERSION, (SQLPOINTER) SQL_OV_ODBC3, 0);
}
