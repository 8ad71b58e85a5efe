/*
 * fdw.h: what the files of the foreign data wrapper share.
 */
#ifndef PORTCULLIS_FDW_H
#define PORTCULLIS_FDW_H

#include "postgres.h"
#include "commands/explain.h"
#include "fmgr.h"
#include "foreign/fdwapi.h"
#include "lib/ilist.h"
#include "nodes/pathnodes.h"

#include "compat.h"
#include "loader.h"

/* Rows assumed for a table in a governed session, and where nothing is known. */
#define PC_DEFAULT_ROWS 1000.0

/* What planning knows of a table: RelOptInfo.fdw_private. */
typedef struct pc_relation
{
	bool		governed;
	bool		use_remote_estimate;
	pc_table   *table;
	pc_source  *source;
	double		tuples;			/* rows of the whole table */
	List	   *pushed;			/* RestrictInfos that the source computes exactly */
	List	   *kept;			/* RestrictInfos that it does not */
	List	   *reasons;		/* String a kept one */
	List	   *asked;			/* RestrictInfos that have their answer */
	List	   *answers;		/* String each: why it is kept, NULL: it is pushed */
} pc_relation;

/* ForeignScan.fdw_private, in this order.  Holds no secret: any user can print it. */
enum pc_plan_item
{
	PC_PLAN_GOVERNED,			/* Boolean: planned in a governed session */
	PC_PLAN_QUALS,				/* List of conditions as the library reads them: Var.varno 1, Param n = parameter n-1 */
	PC_PLAN_WANTED,				/* IntList of attnums */
	PC_PLAN_LIMIT,				/* String: rows needed, -1 all */
	PC_PLAN_REASONS				/* List of String, parallel to the node's qual; NIL in governed sessions */
};

typedef struct pc_reader pc_reader;	/* convert.c: turns blocks into tuples */

/* ForeignScanState.fdw_state. */
typedef struct pc_scan
{
	dlist_node	node;			/* in the list of live scans */
	uint64		id;				/* 0: not begun or ended */
	bool		started;
	bool		at_end;
	bool		governed;
	pc_scan_grant grant;
	List	   *params;			/* ExprStates */
	List	   *param_types;	/* OidList */
	FmgrInfo   *param_out;
	pc_block   *block;
	int			next_row;
	pc_reader  *reader;
	MemoryContextCallback cleanup;
} pc_scan;

extern Datum portcullis_fdw_handler(PG_FUNCTION_ARGS);

/* options.c */
extern pc_option *pc_options(List *defelems);
extern const char *pc_option_value(List *defelems, const char *name);
extern int32 pc_collation_kind(Oid collation);
extern void pc_refuse_governed_import(void);

/* treesend.c */
extern pc_tree *pc_tree_send(List *quals);
extern int	pc_transmission_modes(void);
extern void pc_transmission_modes_end(int nestlevel);

/* fdw_quals.c */
extern Expr *pc_localise(Expr *clause, Index relid, List **params);
extern void pc_classify(pc_relation *r, RelOptInfo *rel, List *rinfos,
						List **pushed, List **kept, List **reasons);

/* fdw_plan.c */
extern void pc_plan_init(void);
extern void pc_get_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid relid);
extern void pc_get_paths(PlannerInfo *root, RelOptInfo *rel, Oid relid);
extern ForeignScan *pc_get_plan(PlannerInfo *root, RelOptInfo *rel, Oid relid, ForeignPath *path,
								List *tlist, List *scan_clauses, Plan *outer_plan);

/* fdw_colstats.c */
extern void pc_stats_init(void);
extern bool pc_known_rows(Oid relid, double *rows);

/* fdw_stats.c */
extern bool pc_analyze(Relation rel, AcquireSampleRowsFunc *func, BlockNumber *pages);

/* fdw_scan.c */
extern void pc_begin_scan(ForeignScanState *node, int eflags);
extern TupleTableSlot *pc_iterate_scan(ForeignScanState *node);
extern void pc_rescan(ForeignScanState *node);
extern void pc_end_scan(ForeignScanState *node);
extern void pc_end_all_scans(void);

/* fdw_explain.c */
extern void pc_explain_scan(ForeignScanState *node, ExplainState *es);

/* fdw_write.c */
extern void pc_install_write_refusal(FdwRoutine *routine);
extern void pc_refuse_merge(PlannerInfo *root, RelOptInfo *rel, Oid relid);
extern void pc_write_init(void);

/* import.c */
extern List *pc_import_schema(ImportForeignSchemaStmt *stmt, Oid serverid);

/* convert.c */
extern pc_reader *pc_reader_create(Relation rel, List *wanted);
extern void pc_reader_block(pc_reader *reader, pc_block *block);
extern void pc_reader_row(pc_reader *reader, pc_block *block, int row, TupleTableSlot *slot);

#endif
