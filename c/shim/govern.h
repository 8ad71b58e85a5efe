/*
 * govern.h: what governs the statements now running.
 */
#ifndef PORTCULLIS_GOVERN_H
#define PORTCULLIS_GOVERN_H

#include "postgres.h"
#include "executor/execdesc.h"
#include "lib/ilist.h"
#include "nodes/primnodes.h"

#include "portcullis.h"

/*
 * A running statement that reads our tables.  Lives in a context of its own
 * until the executor's state is freed, whichever way that comes about.
 */
typedef struct pc_frame
{
	dlist_node	node;
	MemoryContext context;
	QueryDesc  *query;
	PlannedStmt *stmt;
	bool		adopted;		/* freed together with the executor's state */
	bool		governed;
	bool		audited;
	bool		may_hold_secret;	/* its text, by who typed it */
	bool		recorded;		/* the intent is in the ring */
	bool		durable;
	bool		ended;			/* ExecutorEnd was reached */
	char		sqlstate[6];	/* of what made it fail */
	char		record_id[37];
	int64		query_id;
	uint64		position;		/* of the intent in the ring */

	int			n;				/* our tables */
	Oid		   *relids;
	char	  **sources;		/* data source, NULL: none */
	char	  **names;			/* data source, or schema.table where there is none */
	pc_decision *decisions;		/* governed sessions */

	Oid			role;			/* what the decisions were made for */
	uint64		epoch;
	uint64		impersonation;
	uint64		decided_at;		/* pc_clock_ms */
	pc_session	session;

	uint64	   *running;		/* limit keys under which it is counted */
	int			nrunning;

	uint64	   *scans;
	int			nscans;
	int			scans_room;
	int64		rows;
	int64		bytes;
	MemoryContextCallback callback;
} pc_frame;

/* frames.c */
extern pc_frame *pc_frame_create(QueryDesc *query, List *relids);
extern void pc_frame_drop(pc_frame *frame);
extern void pc_frame_adopt(pc_frame *frame, EState *estate);
extern pc_frame *pc_frame_of_query(QueryDesc *query);
extern pc_frame *pc_frame_of_stmt(PlannedStmt *stmt);
extern void pc_frame_note_error(pc_frame *frame);	/* inside PG_CATCH */

extern char *pc_qualified_name(Oid relid);	/* schema.table, unquoted */

/* record.c */
extern void pc_record_intent(pc_frame *frame);
extern void pc_record_denied(pc_frame *frame, const char *sqlstate, const char *reason);
extern void pc_record_completion(pc_frame *frame);	/* never raises */

/* stmttext.c */
extern char *pc_statement_text(const QueryDesc *query);	/* "" where it cannot be told from others in the same text */
extern PlannedStmt *pc_current_utility; /* the utility statement now running, innermost */
extern const char *pc_current_utility_text; /* its source text */

/* decide.c */
extern void pc_decide_frame(pc_frame *frame);
extern void pc_check_frame(pc_frame *frame);	/* do its decisions still hold? */

/* sharing.c: one decision a table, from this session, the node or the service; denials in out[] are the library's */
extern void pc_decide_together(const pc_session *session, pc_frame *frame, pc_decision *out);

/* running.c */
extern void pc_running_enter(pc_frame *frame);	/* raises 53300 where a limit is reached */
extern void pc_running_leave(pc_frame *frame);	/* never raises */

/* refuse.c */
extern void pc_refuse_storing(QueryDesc *query);

/* utility.c */
extern IntoClause *pc_current_into; /* of the CREATE TABLE AS now running, innermost */
extern void pc_utility_init(void);

/* login.c */
extern void pc_login_init(void);

#endif
