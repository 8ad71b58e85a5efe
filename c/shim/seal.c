/*
 * seal.c: passwords of user mappings are sealed before they reach the
 * catalog (hide.c keeps them out of what logs and statistics see).
 */
#include "postgres.h"

#include <unistd.h>

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/syscache.h"

#include "loader.h"
#include "seal.h"

bool
pc_can_seal(void)
{
	return pc_guc_key_file != NULL && pc_guc_key_file[0] != '\0' && access(pc_guc_key_file, R_OK) == 0;
}

char *
pc_seal_text(const char *secret)
{
	pc_error	err = {0};
	char	   *sealed = NULL;
	char	   *copy;

	if (!pc_can_seal())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no key file to seal secrets with"),
				 errhint("Set portcullis.key_file to a file outside the data directory; immutasys.create_key_file() writes one.")));
	if (PC_CALL(seal, secret, &sealed, &err) != PC_OK)
		pc_throw(&err);
	copy = pstrdup(sealed);
	PC_CALL_VOID(free, sealed);
	return copy;
}

/* ---- the statement ----------------------------------------------------------- */

static List **
mapping_options(Node *stmt, const char **server)
{
	if (IsA(stmt, CreateUserMappingStmt))
	{
		*server = ((CreateUserMappingStmt *) stmt)->servername;
		return &((CreateUserMappingStmt *) stmt)->options;
	}
	if (IsA(stmt, AlterUserMappingStmt))
	{
		*server = ((AlterUserMappingStmt *) stmt)->servername;
		return &((AlterUserMappingStmt *) stmt)->options;
	}
	return NULL;
}

static bool
is_ours(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);

	return server != NULL && strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, "portcullis") == 0;
}

static DefElem *
password_option(List *options)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "password") == 0)
			return option;
	}
	return NULL;
}

/* The text up to the option; what follows may hold the secret in any quoting. */
static char *
hide_from(const char *query, int location)
{
	return psprintf("%.*s" PC_HIDDEN_PASSWORD, Max(location, 0), query);
}

/* Options of the mapping as they are now. */
static List *
present_options(AlterUserMappingStmt *stmt)
{
	Oid			user = stmt->user->roletype == ROLESPEC_PUBLIC ? InvalidOid : get_rolespec_oid(stmt->user, true);
	HeapTuple	tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(user),
										ObjectIdGetDatum(GetForeignServerByName(stmt->servername, false)->serverid));
	List	   *options = NIL;
	Datum		datum;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		return NIL;
	datum = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple, Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		options = untransformRelOptions(datum);
	ReleaseSysCache(tuple);
	return options;
}

static bool
has_option(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
		if (strcmp(((DefElem *) lfirst(lc))->defname, name) == 0)
			return true;
	return false;
}

/* The password goes under its sealed name, whichever of the two the mapping holds now. */
static void
replace_option(Node *stmt, List **options, DefElem *option)
{
	List	   *present = IsA(stmt, AlterUserMappingStmt) ? present_options((AlterUserMappingStmt *) stmt) : NIL;

	if (option->arg == NULL)
	{
		if (has_option(present, "password_sealed"))
			option->defname = pstrdup("password_sealed");
		return;
	}
	option->arg = (Node *) makeString(pc_seal_text(defGetString(option)));
	option->defname = pstrdup("password_sealed");
	if (has_option(present, "password_sealed") || !has_option(present, "password"))
		return;
	option->defaction = DEFELEM_ADD;
	*options = lcons(makeDefElemExtended(NULL, pstrdup("password"), NULL, DEFELEM_DROP, -1), *options);
}

PlannedStmt *
pc_seal_mapping(PlannedStmt *pstmt, const char **query, bool *read_only)
{
	const char *server;
	List	  **options = mapping_options(pstmt->utilityStmt, &server);
	DefElem    *option;

	if (options == NULL || (option = password_option(*options)) == NULL || !is_ours(server))
		return pstmt;
	pstmt = copyObject(pstmt);
	options = mapping_options(pstmt->utilityStmt, &server);
	option = password_option(*options);
	*query = hide_from(*query, option->location);
	pstmt->stmt_len = 0;
	*read_only = false;
	if (pc_can_seal())
		replace_option(pstmt->utilityStmt, options, option);
	return pstmt;
}
