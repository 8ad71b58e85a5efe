/*
 * decisionstore.h: decisions that all sessions of the node share, and who is
 * asking for some right now.
 */
#ifndef PORTCULLIS_DECISIONSTORE_H
#define PORTCULLIS_DECISIONSTORE_H

#include "postgres.h"

#define PC_DECISION_KEY	32		/* bytes */

/* ---- decisionstore.c ---- */
extern Size pc_store_size(void);	/* 0: nothing is shared */
extern void pc_store_place(char *area, bool fresh);

/* Keeps a decision that was made under an epoch until the clock says so, unless the epoch has moved on. */
extern void pc_store_put(const uint8 *key, uint64 epoch, const char *bytes, int32 length, uint64 until);

/* A palloc'd copy, NULL: there is none. */
extern char *pc_store_get(const uint8 *key, uint64 epoch, int32 *length, int64 *left_ms);
extern int32 pc_store_count(void);

/* ---- flights.c: one asks, the others of the same question wait ---- */
typedef enum pc_flight_role
{
	PC_FLIGHT_LEADS,			/* asks; must land */
	PC_FLIGHT_FOLLOWS,			/* somebody else asks the same */
	PC_FLIGHT_ALONE				/* asks without telling anybody: there is no room */
} pc_flight_role;

/* The question that a process asks at the moment. */
typedef struct pc_flight
{
	uint8		key[PC_DECISION_KEY];
	int			pid;			/* 0: free */
	uint64		since;			/* pc_clock_ms */
} pc_flight;

extern pc_flight_role pc_flight_join(const uint8 *key);
extern void pc_flight_wait(const uint8 *key);	/* until it has landed; not for long */
extern void pc_flight_land(void);	/* of this process; does nothing where none flies */

#endif
