/*
 * compat.h: what differs between PostgreSQL 15 and 18, and nothing else.
 */
#ifndef PORTCULLIS_COMPAT_H
#define PORTCULLIS_COMPAT_H

#include "postgres.h"
#include "catalog/pg_namespace.h"
#include "common/jsonapi.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/nodes.h"
#include "nodes/pathnodes.h"
#include "nodes/plannodes.h"
#include "nodes/execnodes.h"
#include "optimizer/pathnode.h"
#include "parser/parsetree.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/pg_locale.h"
#include "utils/relcache.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "Portcullis builds against PostgreSQL 15 to 18"
#endif

#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif

/* This backend's local transaction id. */
#if PG_VERSION_NUM >= 170000
#define PC_MY_LXID (MyProc->vxid.lxid)
#else
#define PC_MY_LXID (MyProc->lxid)
#endif

/* Memory of the extra of a setting: guc.c frees it. */
#if PG_VERSION_NUM >= 160000
#define pc_guc_malloc(size) guc_malloc(LOG, (size))
#else
#define pc_guc_malloc(size) malloc(size)
#endif

/* A set that lives as long as the process. */
static inline WaitEventSet *
pc_create_wait_event_set(int nevents)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, nevents);
#else
	return CreateWaitEventSet(TopMemoryContext, nevents);
#endif
}

/* nodeToString leaves out locations since 17; ours carry indexes. */
static inline char *
pc_node_to_string(const void *node)
{
#if PG_VERSION_NUM >= 170000
	return nodeToStringWithLocations(node);
#else
	return nodeToString(node);
#endif
}

/* The role whose rights and user mapping a planned scan uses, InvalidOid: the current one. */
static inline Oid
pc_planned_user(PlannerInfo *root, RelOptInfo *rel)
{
#if PG_VERSION_NUM >= 160000
	return rel->userid;
#else
	return planner_rt_fetch(rel->relid, root)->checkAsUser;
#endif
}

/* The same at execution. */
static inline Oid
pc_scan_user(ForeignScanState *node)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;

#if PG_VERSION_NUM >= 160000
	return plan->checkAsUser;
#else
	return exec_rt_fetch(plan->scan.scanrelid, node->ss.ps.state)->checkAsUser;
#endif
}

static inline ForeignPath *
pc_create_scan_path(PlannerInfo *root, RelOptInfo *rel, double rows, Cost startup, Cost total,
					Relids required_outer)
{
#if PG_VERSION_NUM >= 180000
	return create_foreignscan_path(root, rel, NULL, rows, 0, startup, total, NIL,
								   required_outer, NULL, NIL, NIL);
#elif PG_VERSION_NUM >= 170000
	return create_foreignscan_path(root, rel, NULL, rows, startup, total, NIL,
								   required_outer, NULL, NIL, NIL);
#else
	return create_foreignscan_path(root, rel, NULL, rows, startup, total, NIL,
								   required_outer, NULL, NIL);
#endif
}

static inline bool
pc_collation_is_c(Oid collation)
{
#if PG_VERSION_NUM >= 180000
	return pg_newlocale_from_collation(collation)->collate_is_c;
#else
	return lc_collate_is_c(collation);
#endif
}

/* Makes the function's result a tuplestore in rsinfo->setResult. */
static inline void
pc_materialized_srf(FunctionCallInfo fcinfo)
{
	InitMaterializedSRF(fcinfo, 0);
}

static inline Oid
pc_primary_key_index(Relation rel)
{
#if PG_VERSION_NUM >= 180000
	return RelationGetPrimaryKeyIndex(rel, false);
#else
	return RelationGetPrimaryKeyIndex(rel);
#endif
}

/* Reads a JSON text without keeping its strings. */
static inline JsonLexContext *
pc_json_lexer(const char *text)
{
#if PG_VERSION_NUM >= 170000
	return makeJsonLexContextCstringLen(NULL, text, strlen(text), PG_UTF8, false);
#else
	return makeJsonLexContextCstringLen((char *) text, strlen(text), PG_UTF8, false);
#endif
}

static inline bool
pc_may_use_schema(Oid schema, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(NamespaceRelationId, schema, role, ACL_USAGE) == ACLCHECK_OK;
#else
	return pg_namespace_aclcheck(schema, role, ACL_USAGE) == ACLCHECK_OK;
#endif
}

/* What ExecutorRun and its hook take, as declared and as passed on. */
#if PG_VERSION_NUM >= 180000
#define PC_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count
#define PC_RUN_ARGUMENTS query, direction, count
#else
#define PC_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once
#define PC_RUN_ARGUMENTS query, direction, count, execute_once
#endif

/* A generated column that is computed where it is read, new in 18: the planner puts its expression in its place. */
static inline bool
pc_is_virtual(Form_pg_attribute att)
{
#if PG_VERSION_NUM >= 180000
	return att->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL;
#else
	return false;
#endif
}

/* Since 17 the planner answers IS NULL itself where a column is NOT NULL. */
static inline void
pc_forget_not_null(RelOptInfo *rel)
{
#if PG_VERSION_NUM >= 170000
	rel->notnullattnums = NULL;
#endif
}

/* No other relation stands in the FROM list (outer joins' own relids, new in 16, are not in all_baserels). */
static inline bool
pc_only_relation(PlannerInfo *root, RelOptInfo *rel)
{
	return bms_equal(root->all_baserels, rel->relids);
}

#endif
