/*
 * spoolfile.h: the parts of the audit spool that the main worker writes: the
 * chain of its lines (chain.c), one segment's file (segment.c), who waits to
 * be shipped (quota.c), and the whole (spoolfile.c).
 */
#ifndef PORTCULLIS_SPOOLFILE_H
#define PORTCULLIS_SPOOLFILE_H

#include "postgres.h"

#include "common/sha2.h"
#include "lib/stringinfo.h"

#define PC_SEGMENT_BYTES	(16 * 1024 * 1024)
#define PC_CHAIN_BYTES		PG_SHA256_DIGEST_LENGTH

/* Where the chain stands. */
typedef struct pc_place
{
	uint64		seq;
	uint8		chain[PC_CHAIN_BYTES];
} pc_place;

/* ---- chain.c ---- */

extern void pc_chain_read_key(void);

/* Appends the next line and moves *at on. */
extern void pc_chain_line(StringInfo out, pc_place *at, const char *record, size_t length);

/* Takes the place of a line; false where it is not one of ours. */
extern bool pc_chain_parse(const char *line, size_t length, pc_place *at);

/* The chain's end, kept for when the segment that holds its last line is removed. */
extern bool pc_chain_write_head(uint64 segment, const pc_place *at);
extern bool pc_chain_read_head(uint64 *segment, pc_place *at);

/* ---- quota.c ---- */

/* The records in [from, to) of the ring now end at an offset of a segment. */
extern void pc_quota_spooled(uint64 segment, uint64 from, uint64 to, uint64 end);

/* Everything up to there was shipped. */
extern void pc_quota_shipped(uint64 segment, uint64 offset);

/* A new worker counts what is left: the records still in the ring. */
extern void pc_quota_recount(void);

/* ---- segment.c: one is written at a time ---- */

extern const char *pc_segment_path(uint64 number);

/* Number of a segment file, 0 for any other name. */
extern uint64 pc_segment_of_name(const char *name);

/*
 * Cuts off what is no whole line and takes the place of the last one; answers
 * the bytes that were cut.  Raises where the file cannot be read or cut.
 */
extern uint64 pc_segment_recover(uint64 number, pc_place *at, bool *some);

/* The newest segment that there is: the next one opened follows it. */
extern void pc_segment_follow(uint64 number);

extern uint64 pc_segment_number(void);
extern uint64 pc_segment_end(void);	/* what is synced; the file may be longer */
extern bool pc_segment_is_open(void);

/* False with errno where it fails. */
extern bool pc_segment_open(void);
extern bool pc_segment_append(const char *bytes, size_t n); /* written and synced */

extern void pc_segment_close(void);

/* After a failed append. */
extern void pc_segment_abandon(void);

#endif
