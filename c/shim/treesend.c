/*
 * treesend.c: an expression on its way to the library: nodeToString text,
 * constants as text, and what must be known of every OID in it.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "fdw.h"

typedef struct send_context
{
	const char **consts;
	int			nconsts;
	int			room_consts;
	pc_fact    *facts;
	int			nfacts;
	int			room_facts;
} send_context;

static Node *take_constants(Node *node, send_context *cx);
static bool collect_facts(Node *node, send_context *cx);
static void type_fact(send_context *cx, Oid oid);
static void collation_fact(send_context *cx, Oid oid);
static void operator_fact(send_context *cx, Oid oid);
static void function_fact(send_context *cx, Oid oid);
static pc_fact *new_fact(send_context *cx, char kind, Oid oid);

/* quals: as pc_localise left them. Everything is palloc'd in CurrentMemoryContext. */
pc_tree *
pc_tree_send(List *quals)
{
	send_context cx = {0};
	pc_tree    *tree = palloc0(sizeof(pc_tree));
	int			nestlevel = pc_transmission_modes();
	Node	   *copy = take_constants((Node *) quals, &cx);

	pc_transmission_modes_end(nestlevel);
	collect_facts((Node *) quals, &cx);

	tree->text = pc_node_to_string(copy);
	tree->consts = cx.consts;
	tree->nconsts = cx.nconsts;
	tree->facts = cx.facts;
	tree->nfacts = cx.nfacts;
	return tree;
}

/* Output functions print what any session reads alike; undone by pc_transmission_modes_end or an error. */
int
pc_transmission_modes(void)
{
	int			nestlevel = NewGUCNestLevel();

#define PC_SET_LOCAL(name, value) \
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false)
	if (DateStyle != USE_ISO_DATES)
		PC_SET_LOCAL("datestyle", "ISO");
	if (IntervalStyle != INTSTYLE_POSTGRES)
		PC_SET_LOCAL("intervalstyle", "postgres");
	if (extra_float_digits < 3)
		PC_SET_LOCAL("extra_float_digits", "3");
	if (bytea_output != BYTEA_OUTPUT_HEX)
		PC_SET_LOCAL("bytea_output", "hex");
	return nestlevel;
}

void
pc_transmission_modes_end(int nestlevel)
{
	AtEOXact_GUC(true, nestlevel);
}

static Node *
take_constants(Node *node, send_context *cx)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Const))
	{
		Const	   *c = (Const *) node;
		Const	   *bare = makeNode(Const);

		if (cx->nconsts == cx->room_consts)
		{
			cx->room_consts = Max(8, cx->room_consts * 2);
			cx->consts = cx->consts ?
				repalloc(cx->consts, cx->room_consts * sizeof(char *)) :
				palloc(cx->room_consts * sizeof(char *));
		}
		*bare = *c;
		bare->constisnull = true;
		bare->constvalue = (Datum) 0;
		bare->location = cx->nconsts;
		if (c->constisnull)
			cx->consts[cx->nconsts] = NULL;
		else
		{
			Oid			output;
			bool		varlena;

			getTypeOutputInfo(c->consttype, &output, &varlena);
			cx->consts[cx->nconsts] = OidOutputFunctionCall(output, c->constvalue);
		}
		cx->nconsts++;
		return (Node *) bare;
	}
	return expression_tree_mutator(node, take_constants, cx);
}

static bool
collect_facts(Node *node, send_context *cx)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_List:
		case T_CaseWhen:
			return expression_tree_walker(node, collect_facts, cx);
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			operator_fact(cx, ((OpExpr *) node)->opno);
			break;
		case T_ScalarArrayOpExpr:
			operator_fact(cx, ((ScalarArrayOpExpr *) node)->opno);
			break;
		case T_FuncExpr:
			function_fact(cx, ((FuncExpr *) node)->funcid);
			break;
		case T_RowCompareExpr:
			{
				ListCell   *lc;

				foreach(lc, ((RowCompareExpr *) node)->opnos)
					operator_fact(cx, lfirst_oid(lc));
				break;
			}
		default:
			break;
	}
	type_fact(cx, exprType(node));
	collation_fact(cx, exprCollation(node));
	collation_fact(cx, exprInputCollation(node));
	return expression_tree_walker(node, collect_facts, cx);
}

static void
type_fact(send_context *cx, Oid oid)
{
	HeapTuple	tup;
	Form_pg_type form;
	pc_fact    *fact;
	Oid			element;

	fact = new_fact(cx, 't', oid);
	if (fact == NULL)
		return;
	tup = SearchSysCache1(TYPEOID, ObjectIdGetDatum(oid));
	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for type %u", oid);
	form = (Form_pg_type) GETSTRUCT(tup);
	fact->schema = get_namespace_name(form->typnamespace);
	fact->name = pstrdup(NameStr(form->typname));
	ReleaseSysCache(tup);

	element = get_element_type(oid);
	if (OidIsValid(element))
		type_fact(cx, element);
}

static void
collation_fact(send_context *cx, Oid oid)
{
	HeapTuple	tup;
	Form_pg_collation form;
	pc_fact    *fact;

	if (!OidIsValid(oid))
		return;
	fact = new_fact(cx, 'c', oid);
	if (fact == NULL)
		return;
	tup = SearchSysCache1(COLLOID, ObjectIdGetDatum(oid));
	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for collation %u", oid);
	form = (Form_pg_collation) GETSTRUCT(tup);
	fact->schema = get_namespace_name(form->collnamespace);
	fact->name = pstrdup(NameStr(form->collname));
	fact->result = pc_collation_kind(oid);
	ReleaseSysCache(tup);
}

static void
operator_fact(send_context *cx, Oid oid)
{
	HeapTuple	tup;
	Form_pg_operator form;
	pc_fact    *fact;
	Oid			function;

	fact = new_fact(cx, 'o', oid);
	if (fact == NULL)
		return;
	tup = SearchSysCache1(OPEROID, ObjectIdGetDatum(oid));
	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for operator %u", oid);
	form = (Form_pg_operator) GETSTRUCT(tup);
	function = form->oprcode;
	fact->schema = get_namespace_name(form->oprnamespace);
	fact->name = pstrdup(NameStr(form->oprname));
	fact->left = form->oprleft;
	fact->right = form->oprright;
	fact->result = form->oprresult;
	ReleaseSysCache(tup);
	fact->volatility = func_volatile(function);
	fact->strict = func_strict(function);
	fact->leakproof = get_func_leakproof(function);
}

static void
function_fact(send_context *cx, Oid oid)
{
	pc_fact    *fact = new_fact(cx, 'f', oid);
	Oid		   *argtypes;
	int			nargs;

	if (fact == NULL)
		return;
	fact->schema = get_namespace_name(get_func_namespace(oid));
	fact->name = get_func_name(oid);
	fact->result = get_func_signature(oid, &argtypes, &nargs);
	fact->left = nargs > 0 ? argtypes[0] : InvalidOid;
	fact->right = nargs > 1 ? argtypes[1] : InvalidOid;
	fact->volatility = func_volatile(oid);
	fact->strict = func_strict(oid);
	fact->leakproof = get_func_leakproof(oid);
}

/* NULL where the fact is there already. */
static pc_fact *
new_fact(send_context *cx, char kind, Oid oid)
{
	pc_fact    *fact;

	for (int i = 0; i < cx->nfacts; i++)
		if (cx->facts[i].kind == kind && cx->facts[i].oid == oid)
			return NULL;
	if (cx->nfacts == cx->room_facts)
	{
		cx->room_facts = Max(16, cx->room_facts * 2);
		cx->facts = cx->facts ?
			repalloc(cx->facts, cx->room_facts * sizeof(pc_fact)) :
			palloc(cx->room_facts * sizeof(pc_fact));
	}
	fact = &cx->facts[cx->nfacts++];
	memset(fact, 0, sizeof(*fact));
	fact->kind = kind;
	fact->oid = oid;
	return fact;
}
