/*
 * seal.h: secrets that administrators type.
 */
#ifndef PORTCULLIS_SEAL_H
#define PORTCULLIS_SEAL_H

#include "postgres.h"
#include "nodes/plannodes.h"

/* The secret sealed with the node's key, palloc'd; raises without a key file. */
extern char *pc_seal_text(const char *secret);

/* Is there a key file to seal with? */
extern bool pc_can_seal(void);

/*
 * CREATE and ALTER USER MAPPING on a server of ours with the option password:
 * a copy with password_sealed instead, and a query text without the secret.
 * Any other statement as it is.
 */
extern PlannedStmt *pc_seal_mapping(PlannedStmt *pstmt, const char **query, bool *read_only);

extern void pc_seal_init(void);

#endif
