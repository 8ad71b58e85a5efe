/*
 * refuse.c: governed rows are read, not stored: forms of statements that
 * would keep them where the policy does not reach.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "parser/parsetree.h"
#include "tcop/dest.h"
#include "tcop/pquery.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"

#include "govern.h"

static void
refuse(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("rows of governed tables cannot be kept in %s", what),
			 errdetail("A later change of policy could not reach them."),
			 errhint("Use a temporary table, or read the data source anew.")));
}

static bool
is_temporary(const RangeVar *rel)
{
	return rel->relpersistence == RELPERSISTENCE_TEMP ||
		(rel->schemaname != NULL && strcmp(rel->schemaname, "pg_temp") == 0);
}

static void
refuse_new_table(void)
{
	IntoClause *into = pc_current_into;

	if (into == NULL || into->viewQuery != NULL)
		refuse("a materialized view");
	if (!is_temporary(into->rel))
		refuse("a permanent table");
}

static void
refuse_written_tables(PlannedStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->resultRelations)
	{
		Oid			relid = rt_fetch(lfirst_int(lc), stmt->rtable)->relid;

		if (get_rel_persistence(relid) != RELPERSISTENCE_TEMP)
			refuse("a permanent table");
	}
}

void
pc_refuse_storing(QueryDesc *query)
{
	if (query->dest != NULL && query->dest->mydest == DestIntoRel)
		refuse_new_table();
	if (query->dest != NULL && query->dest->mydest == DestTransientRel)
		refuse("a materialized view");
	refuse_written_tables(query->plannedstmt);
	if (!pc_guc_allow_hold && ActivePortal != NULL && (ActivePortal->cursorOptions & CURSOR_OPT_HOLD))
		refuse("a cursor WITH HOLD");
}
