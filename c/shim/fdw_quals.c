/*
 * fdw_quals.c: conditions: what in them is computed here and sent as a
 * parameter, and which of them the source computes exactly.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/restrictinfo.h"
#include "utils/lsyscache.h"

#include "fdw.h"

typedef struct localise_context
{
	Index		relid;
	List	  **params;
	bool		conditional;	/* below CASE or COALESCE: may never be evaluated */
	bool		failed;			/* something is left that is neither the table's nor a parameter */
} localise_context;

static void answer(pc_relation *r, RelOptInfo *rel, List *rinfos);
static String *answer_of(pc_relation *r, RestrictInfo *rinfo);
static void ask_library(pc_relation *r, List *trees, const char **why, int n);
static const char *unsendable(RestrictInfo *rinfo, RelOptInfo *rel);
static bool odd_reference(Node *node, void *relid);
static Node *localise(Node *node, localise_context *cx);
static Node *localise_conditional(Node *node, localise_context *cx);
static bool computable_here(Node *node, localise_context *cx);
static bool mentions(Node *node, void *relid);
static bool cannot_fail(Node *node);
static Node *make_parameter(Node *node, localise_context *cx);

/*
 * Sorts conditions (RestrictInfos) into those that the source computes as
 * PostgreSQL would and those that stay, with a reason (String) for each of
 * the latter. One call of the library for all that it was not asked about
 * before: a plan is made of the conditions that its costs were. Keeps their
 * order, in which security barriers come first.
 */
void
pc_classify(pc_relation *r, RelOptInfo *rel, List *rinfos,
			List **pushed, List **kept, List **reasons)
{
	ListCell   *lc;

	answer(r, rel, list_difference_ptr(rinfos, r->asked));
	foreach(lc, rinfos)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		String	   *reason;

		if (rinfo->pseudoconstant)
			continue;			/* a Result node above tests it once */
		reason = answer_of(r, rinfo);
		if (reason == NULL)
			*pushed = lappend(*pushed, rinfo);
		else
		{
			*kept = lappend(*kept, rinfo);
			*reasons = lappend(*reasons, reason);
		}
	}
}

/* Notes of each condition why it stays, NULL: it is pushed. */
static void
answer(pc_relation *r, RelOptInfo *rel, List *rinfos)
{
	int			n = list_length(rinfos);
	const char **why = palloc0(sizeof(char *) * Max(n, 1));
	List	   *trees = NIL;
	List	   *params = NIL;
	ListCell   *lc;
	int			i = 0;

	foreach(lc, rinfos)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		Expr	   *expr = NULL;

		why[i] = unsendable(rinfo, rel);
		if (why[i] == NULL)
		{
			expr = pc_localise(rinfo->clause, rel->relid, &params);
			if (expr == NULL)
				why[i] = "a part of it can neither be sent nor computed before";
			else
				trees = lappend(trees, expr);
		}
		i++;
	}
	if (trees != NIL)
		ask_library(r, trees, why, n);

	i = 0;
	foreach(lc, rinfos)
	{
		r->asked = lappend(r->asked, lfirst(lc));
		r->answers = lappend(r->answers, why[i] ? makeString(pstrdup(why[i])) : NULL);
		i++;
	}
}

static String *
answer_of(pc_relation *r, RestrictInfo *rinfo)
{
	ListCell   *asked;
	ListCell   *given;

	forboth(asked, r->asked, given, r->answers)
		if (lfirst(asked) == rinfo)
			return lfirst(given);
	elog(ERROR, "a condition was not classified");
}

/* trees stand for the conditions that have no reason yet, in order; fills in the library's reasons. */
static void
ask_library(pc_relation *r, List *trees, const char **why, int n)
{
	pc_push_reply reply = {0};
	pc_error	err = {0};
	pc_tree    *tree = pc_tree_send(trees);
	int			next = 0;

	if (PC_CALL(push, r->source, r->table, tree, &reply, &err) != PC_OK)
		pc_throw(&err);
	if (reply.nquals != list_length(trees))
		elog(ERROR, "the library answered about %d conditions, asked were %d", reply.nquals, list_length(trees));
	for (int i = 0; i < n; i++)
	{
		if (why[i] != NULL)
			continue;
		if (!reply.push[next])
			why[i] = reply.why && reply.why[next] ? pstrdup(reply.why[next]) : "the source cannot compute it exactly";
		next++;
	}
	PC_CALL_VOID(push_reply_free, &reply);
}

static const char *
unsendable(RestrictInfo *rinfo, RelOptInfo *rel)
{
	Node	   *clause = (Node *) rinfo->clause;

	if (rinfo->pseudoconstant)
		return "it is tested once, before the scan";
	if (!restriction_is_securely_promotable(rinfo, rel))
		return "a security barrier comes first";
	if (contain_volatile_functions(clause))
		return "it calls a volatile function";
	if (contain_subplans(clause))
		return "it contains a sub-select";
	if (odd_reference(clause, &rel->relid))
		return "it uses a whole row, a system column or a value made below an outer join";
	return NULL;
}

static bool
odd_reference(Node *node, void *relid)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varno == *(Index *) relid && ((Var *) node)->varattno <= 0;
	if (IsA(node, PlaceHolderVar))
		return true;
	return expression_tree_walker(node, odd_reference, relid);
}

/*
 * The clause as the library reads it: the table's columns have varno 1, what
 * needs no column of the table is a parameter, whose expression is added to
 * *params. NULL where that is not possible.
 */
Expr *
pc_localise(Expr *clause, Index relid, List **params)
{
	localise_context cx = {.relid = relid, .params = params};
	Node	   *result = localise((Node *) clause, &cx);

	return cx.failed ? NULL : (Expr *) result;
}

static Node *
localise(Node *node, localise_context *cx)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Const))
		return copyObject(node);
	if (IsA(node, Var) && ((Var *) node)->varno == cx->relid && ((Var *) node)->varlevelsup == 0)
	{
		Var		   *var = copyObject((Var *) node);

		var->varno = 1;
		var->varnosyn = 1;
		return (Node *) var;
	}
	if (computable_here(node, cx))
		return make_parameter(node, cx);
	if (IsA(node, Var) || IsA(node, Param))
	{
		cx->failed = true;
		return copyObject(node);
	}
	if (IsA(node, CaseExpr) || IsA(node, CoalesceExpr))
		return localise_conditional(node, cx);
	return expression_tree_mutator(node, localise, cx);
}

static Node *
localise_conditional(Node *node, localise_context *cx)
{
	bool		outer = cx->conditional;
	Node	   *result;

	cx->conditional = true;
	result = expression_tree_mutator(node, localise, cx);
	cx->conditional = outer;
	return result;
}

static bool
computable_here(Node *node, localise_context *cx)
{
	Oid			type;

	if (IsA(node, List) || IsA(node, CaseWhen) || IsA(node, CaseTestExpr) || IsA(node, NamedArgExpr))
		return false;
	if (mentions(node, &cx->relid))
		return false;
	if (cx->conditional && !cannot_fail(node))
		return false;
	type = exprType(node);
	return OidIsValid(type) && get_typtype(type) != TYPTYPE_PSEUDO;
}

/* Of the table, or of something above that gives it its value. */
static bool
mentions(Node *node, void *relid)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varno == *(Index *) relid && ((Var *) node)->varlevelsup == 0;
	/* the test value of a CASE around us; a CASE inside has its own, and then we merely do not hoist */
	if (IsA(node, CaseTestExpr))
		return true;
	return expression_tree_walker(node, mentions, relid);
}

static bool
cannot_fail(Node *node)
{
	if (IsA(node, RelabelType))
		return cannot_fail((Node *) ((RelabelType *) node)->arg);
	if (IsA(node, FuncExpr))
		return ((FuncExpr *) node)->args == NIL;
	return IsA(node, Var) || IsA(node, Param) || IsA(node, SQLValueFunction);
}

static Node *
make_parameter(Node *node, localise_context *cx)
{
	Param	   *param = makeNode(Param);
	ListCell   *lc;
	int			n = 0;

	foreach(lc, *cx->params)
	{
		n++;
		if (equal(lfirst(lc), node))
			break;
	}
	if (lc == NULL)
	{
		*cx->params = lappend(*cx->params, copyObject(node));
		n = list_length(*cx->params);
	}
	param->paramkind = PARAM_EXTERN;
	param->paramid = n;
	param->paramtype = exprType(node);
	param->paramtypmod = exprTypmod(node);
	param->paramcollid = exprCollation(node);
	param->location = -1;
	return (Node *) param;
}
