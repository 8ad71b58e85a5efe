/*
 * fdw_colstats.c: what immutasys.analyze() counted of a column, as the
 * planner wants it: distinct values and share of NULLs, never a value.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_statistic.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"

#include "fdw.h"

/* Columns of immutasys.table_statistics. */
enum
{
	KEPT_RELID = 1,
	KEPT_ATTNUM,
	KEPT_ROWS,
	KEPT_N_DISTINCT,
	KEPT_NULL_FRAC
};

/* One row of it; negative: not counted. */
typedef struct kept_counts
{
	double		rows;
	double		n_distinct;
	double		null_frac;
} kept_counts;

static get_relation_stats_hook_type next_relation_stats = NULL;

static bool look_up(Oid relid, AttrNumber attnum, kept_counts *kept);
static double number_at(HeapTuple tup, int attnum, TupleDesc desc);
static bool relation_stats(PlannerInfo *root, RangeTblEntry *rte, AttrNumber attnum, VariableStatData *vardata);
static HeapTuple statistic_tuple(Oid relid, AttrNumber attnum, const kept_counts *kept);

void
pc_stats_init(void)
{
	next_relation_stats = get_relation_stats_hook;
	get_relation_stats_hook = relation_stats;
}

/* The row count kept for a table; false where there is none. */
bool
pc_known_rows(Oid relid, double *rows)
{
	kept_counts kept;

	if (!look_up(relid, 0, &kept) || kept.rows < 0)
		return false;
	*rows = kept.rows;
	return true;
}

static bool
look_up(Oid relid, AttrNumber attnum, kept_counts *kept)
{
	Oid			namespace = get_namespace_oid("immutasys", true);
	Oid			table = OidIsValid(namespace) ? get_relname_relid("table_statistics", namespace) : InvalidOid;
	Oid			index;
	Relation	rel;
	SysScanDesc scan;
	ScanKeyData key[2];
	HeapTuple	tup;
	bool		found;

	if (!OidIsValid(table))
		return false;
	rel = table_open(table, AccessShareLock);
	index = pc_primary_key_index(rel);
	ScanKeyInit(&key[0], KEPT_RELID, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	ScanKeyInit(&key[1], KEPT_ATTNUM, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(attnum));
	scan = systable_beginscan(rel, index, OidIsValid(index), NULL, 2, key);
	tup = systable_getnext(scan);
	found = HeapTupleIsValid(tup);
	if (found)
	{
		kept->rows = number_at(tup, KEPT_ROWS, RelationGetDescr(rel));
		kept->n_distinct = number_at(tup, KEPT_N_DISTINCT, RelationGetDescr(rel));
		kept->null_frac = number_at(tup, KEPT_NULL_FRAC, RelationGetDescr(rel));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

static double
number_at(HeapTuple tup, int attnum, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(tup, attnum, desc, &isnull);

	return isnull ? -1.0 : DatumGetFloat8(value);
}

static bool
relation_stats(PlannerInfo *root, RangeTblEntry *rte, AttrNumber attnum, VariableStatData *vardata)
{
	kept_counts kept;

	if (next_relation_stats && next_relation_stats(root, rte, attnum, vardata))
		return true;
	if (rte->relkind != RELKIND_FOREIGN_TABLE || attnum <= 0 || !pc_is_our_relation(rte->relid))
		return false;
	if (pc_session_governed() || !look_up(rte->relid, attnum, &kept) || kept.n_distinct < 0)
		return false;
	vardata->statsTuple = statistic_tuple(rte->relid, attnum, &kept);
	vardata->freefunc = heap_freetuple;
	return true;
}

/* A row as ANALYZE would make it, without most common values, histogram or any other slot. */
static HeapTuple
statistic_tuple(Oid relid, AttrNumber attnum, const kept_counts *kept)
{
	Relation	rel = table_open(StatisticRelationId, AccessShareLock);
	Datum		values[Natts_pg_statistic] = {0};
	bool		nulls[Natts_pg_statistic] = {0};
	HeapTuple	tup;

	values[Anum_pg_statistic_starelid - 1] = ObjectIdGetDatum(relid);
	values[Anum_pg_statistic_staattnum - 1] = Int16GetDatum(attnum);
	values[Anum_pg_statistic_stanullfrac - 1] = Float4GetDatum((float4) Max(kept->null_frac, 0));
	values[Anum_pg_statistic_stadistinct - 1] = Float4GetDatum((float4) Max(kept->n_distinct, 1));
	values[Anum_pg_statistic_stawidth - 1] = Int32GetDatum(get_attavgwidth(relid, attnum));
	for (int i = 0; i < STATISTIC_NUM_SLOTS; i++)
	{
		nulls[Anum_pg_statistic_stanumbers1 - 1 + i] = true;
		nulls[Anum_pg_statistic_stavalues1 - 1 + i] = true;
	}
	tup = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	table_close(rel, AccessShareLock);
	return tup;
}
