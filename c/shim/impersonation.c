/*
 * impersonation.c: immuta.impersonation_iamid and immuta.impersonation_userid.
 *
 * The pair counts only when both were set by SET (or SET LOCAL) in one
 * transaction, with no statement decided between them; changing one makes the
 * pair void until the other is set too.  What set them is known by a stamp
 * that PostgreSQL keeps with each value, so a rollback brings back the stamp
 * together with the value.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "storage/proc.h"
#include "utils/guc.h"

#include "compat.h"
#include "portcullis.h"
#include "session.h"

typedef struct Stamp
{
	LocalTransactionId transaction;
	uint64		round;
} Stamp;

bool		pc_impersonation_by_set = false;

static Stamp iamid_stamp = {0, 0};
static Stamp userid_stamp = {0, 0};
static uint64 round_now = 1;
static uint64 generation = 1;

static bool
check(const char *name, char *newval, void **extra, GucSource source)
{
	Stamp	   *stamp;

	/* A parallel worker gets the leader's values; it decides nothing. */
	if (newval == NULL || newval[0] == '\0' || InitializingParallelWorker)
		return true;
	if (source != PGC_S_SESSION || !pc_impersonation_by_set)
	{
		GUC_check_errcode(ERRCODE_INSUFFICIENT_PRIVILEGE);
		GUC_check_errmsg("parameter \"%s\" can only be set by the statement SET", name);
		GUC_check_errhint("SET both immuta.impersonation_iamid and immuta.impersonation_userid in one transaction.");
		return false;
	}
	stamp = pc_guc_malloc(sizeof(Stamp));
	if (stamp == NULL)
		return false;
	stamp->transaction = PC_MY_LXID;
	stamp->round = round_now;
	*extra = stamp;
	return true;
}

static void
assign(Stamp *to, void *extra)
{
	*to = extra != NULL ? *(Stamp *) extra : (Stamp) {0, 0};
	generation++;
}

bool
pc_impersonation_iamid_check(char **newval, void **extra, GucSource source)
{
	return check("immuta.impersonation_iamid", *newval, extra, source);
}

void
pc_impersonation_iamid_assign(const char *newval, void *extra)
{
	(void) newval;
	assign(&iamid_stamp, extra);
}

bool
pc_impersonation_userid_check(char **newval, void **extra, GucSource source)
{
	return check("immuta.impersonation_userid", *newval, extra, source);
}

void
pc_impersonation_userid_assign(const char *newval, void *extra)
{
	(void) newval;
	assign(&userid_stamp, extra);
}

pc_impersonation
pc_impersonation_state(void)
{
	bool		iamid = pc_guc_impersonation_iamid != NULL && pc_guc_impersonation_iamid[0] != '\0';
	bool		userid = pc_guc_impersonation_userid != NULL && pc_guc_impersonation_userid[0] != '\0';

	if (!iamid && !userid)
		return PC_IMPERSONATION_NONE;
	if (iamid && userid && iamid_stamp.round != 0 &&
		iamid_stamp.transaction == userid_stamp.transaction && iamid_stamp.round == userid_stamp.round)
		return PC_IMPERSONATION_VALID;
	return PC_IMPERSONATION_VOID;
}

void
pc_impersonation_used(void)
{
	round_now++;
}

uint64
pc_impersonation_generation(void)
{
	return generation;
}
