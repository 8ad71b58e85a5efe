/*
 * exec.c: bind, execute and describe; text as UTF-16 for drivers with W entry
 * points, as UTF-8 for drivers without.
 */
#include <string.h>
#include "fetch.h"

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

/*
 * Binds and executes; the first failure is returned.  Not prepared, which
 * would be a round trip of its own at MariaDB.
 */
SQLRETURN
pc_execute(SQLHSTMT stmt, int wide, const void *sql, int32_t len, pc_param *params, int32_t n)
{
	SQLRETURN	rc = bind_params(stmt, params, n);

	if (!SQL_SUCCEEDED(rc))
		return rc;
	if (wide)
		return SQLExecDirectW(stmt, (SQLWCHAR *) sql, len);
	return SQLExecDirect(stmt, (SQLCHAR *) sql, len);
}

/* What the driver tells of the type of column i, counted from 1. */
SQLRETURN
pc_column_type(SQLHSTMT stmt, int32_t i, pc_type *type)
{
	SQLUSMALLINT column = (SQLUSMALLINT) i;
	SQLRETURN	rc;

	memset(type, 0, sizeof(*type));
	rc = SQLColAttribute(stmt, column, SQL_DESC_CONCISE_TYPE, NULL, 0, NULL, &type->sqltype);
	if (SQL_SUCCEEDED(rc))
		rc = SQLColAttribute(stmt, column, SQL_DESC_UNSIGNED, NULL, 0, NULL, &type->is_unsigned);
	if (SQL_SUCCEEDED(rc) && (type->sqltype == SQL_DECIMAL || type->sqltype == SQL_NUMERIC))
		rc = SQLColAttribute(stmt, column, SQL_DESC_PRECISION, NULL, 0, NULL, &type->precision);
	if (SQL_SUCCEEDED(rc))
		rc = SQLColAttribute(stmt, column, SQL_DESC_TYPE_NAME, type->name, sizeof(type->name), NULL, NULL);
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
