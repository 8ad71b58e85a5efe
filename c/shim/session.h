/*
 * session.h: what the shim's own files ask about sessions and roles.
 */
#ifndef PORTCULLIS_SESSION_H
#define PORTCULLIS_SESSION_H

#include "portcullis.h"

/* session.c */
extern bool pc_role_governed(Oid role);
extern char *pc_role_danger(Oid role);	/* why a governed role is refused, NULL: it is not */
extern void pc_session_check_role(void);	/* 42501 in a governed session that holds too much */

/* May who acts now, or who called them, call functions that are given a secret?  Others' statements are not shortened for them. */
extern bool pc_may_take_secret(void);

extern void pc_session_describe(pc_session *s);	/* pc_session_fill for records: never refuses */

/* impersonation.c */
typedef enum pc_impersonation
{
	PC_IMPERSONATION_NONE,
	PC_IMPERSONATION_VALID,
	PC_IMPERSONATION_VOID
} pc_impersonation;

extern pc_impersonation pc_impersonation_state(void);
extern void pc_impersonation_used(void);	/* from now on both must be set anew */
extern uint64 pc_impersonation_generation(void);	/* grows with each change */
extern bool pc_impersonation_by_set;	/* true while a SET statement runs */

#endif
