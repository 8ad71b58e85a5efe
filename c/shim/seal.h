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

/* What stands in the place of a password, to the statement's end. */
#define PC_HIDDEN_PASSWORD "password '********')"

/*
 * redact.c: behind which place of a statement's text a secret may stand, NULL
 * where it holds none: passwords and options that may be misspelt ones of
 * servers and user mappings, arguments of functions of immutasys.
 */
extern const char *pc_secret_in(const char *text);

/*
 * redact_cut.c: a copy without what follows that place, NULL where there is no
 * secret; what is open there is closed.
 */
extern char *pc_without_secret(const char *text);

/* The same of the context of an error, with the names of functions and places that follow. */
extern char *pc_context_without_secret(const char *context);

/* The first so many bytes of a statement, whole. */
extern char *pc_cut_statement(const char *text, size_t length);

/*
 * The text without constants, from the place of its first secret on without
 * comments: what else a statement did is for the audit, where it stands.
 */
extern char *pc_without_constants(char *text);

/* hide.c: logs, activity and statistics do not show what administrators type. */
extern void pc_hide_init(void);

/* Once in each session: what modules that were loaded after this one see of a statement. */
extern void pc_hide_from_others(void);

#endif
