/*
 * options.c: options of servers, mappings, tables and columns; what the
 * library is told about a table and its source; which tables are ours.
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "access/table.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "foreign/fdwapi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "fdw.h"

static void refuse_governed_ddl(void);
static void check_driver(const char *driver);
static void watch_sources(void);
static Oid	user_mapping(Oid serverid, Oid userid, List **options);
static void describe_column(Form_pg_attribute att, Oid relid, pc_attribute *out);
static const char *base_type_name(Oid type);

PG_FUNCTION_INFO_V1(portcullis_fdw_validator);

Datum
portcullis_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *list = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	pc_option  *options;
	pc_error	err = {0};
	int32		object;
	int32		n;

	switch (catalog)
	{
		case ForeignServerRelationId:
			object = 's';
			break;
		case UserMappingRelationId:
			object = 'm';
			break;
		case ForeignTableRelationId:
			object = 't';
			break;
		case AttributeRelationId:
			object = 'c';
			break;
		default:
			if (list != NIL)
				ereport(ERROR,
						(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
						 errmsg("invalid option \"%s\"", ((DefElem *) linitial(list))->defname),
						 errhint("The foreign data wrapper itself has no options; servers, user mappings, foreign tables and columns have.")));
			PG_RETURN_VOID();
	}
	refuse_governed_ddl();

	n = list_length(list);
	options = pc_options(list);
	if (PC_CALL(validate_options, object, options, n, &err) != PC_OK)
		pc_throw(&err);
	if (object == 's')
		check_driver(pc_option_value(list, "driver"));
	PG_RETURN_VOID();
}

/*
 * Nothing could be read through a driver that is not registered here.  What is
 * restored keeps its server all the same: its driver may be installed later.
 * Dumps say that they are by check_function_bodies, which holds for things of
 * other programs that need not be there yet.
 */
static void
check_driver(const char *driver)
{
	pc_error	err = {0};

	if (PC_CALL(check_driver, driver, &err) != PC_OK)
		pc_report(check_function_bodies && !IsBinaryUpgrade ? ERROR : WARNING, &err);
}

/* Whoever may define a source decides where the server connects to. */
static void
refuse_governed_ddl(void)
{
	if (!pc_preloaded || !pc_session_governed())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("this session may not define or change servers, user mappings or foreign tables of portcullis"),
			 errhint("Data sources are made by an administrator or by the policy service.")));
}

void
pc_refuse_governed_import(void)
{
	refuse_governed_ddl();
}

/* List of DefElem -> array; values live in CurrentMemoryContext. */
pc_option *
pc_options(List *list)
{
	pc_option  *options = palloc0(sizeof(pc_option) * Max(list_length(list), 1));
	ListCell   *lc;
	int			i = 0;

	foreach(lc, list)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		options[i].name = def->defname;
		options[i++].value = defGetString(def);
	}
	return options;
}

const char *
pc_option_value(List *list, const char *name)
{
	ListCell   *lc;

	foreach(lc, list)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (strcmp(def->defname, name) == 0)
			return defGetString(def);
	}
	return NULL;
}

pc_source *
pc_describe_source(Oid serverid, Oid userid)
{
	ForeignServer *server = GetForeignServer(serverid);
	pc_source  *source = palloc0(sizeof(pc_source));
	List	   *mapping = NIL;

	watch_sources();
	source->server_oid = serverid;
	source->server_hash = GetSysCacheHashValue1(FOREIGNSERVEROID, ObjectIdGetDatum(serverid));
	source->server_name = server->servername;
	source->options = pc_options(server->options);
	source->noptions = list_length(server->options);
	source->mapping_oid = user_mapping(serverid, userid, &mapping);
	if (OidIsValid(source->mapping_oid))
		source->mapping_hash = GetSysCacheHashValue1(USERMAPPINGOID, ObjectIdGetDatum(source->mapping_oid));
	source->mapping = pc_options(mapping);
	source->nmapping = list_length(mapping);
	return source;
}

static void
source_changed(Datum object, int cacheid, uint32 hashvalue)
{
	(void) cacheid;
	if (pc_engine_loaded())
		PC_CALL_VOID(source_changed, DatumGetInt32(object), hashvalue);
}

/* So that no connection outlives its server or user mapping. */
static void
watch_sources(void)
{
	static bool watching = false;

	if (watching)
		return;
	watching = true;
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, source_changed, Int32GetDatum('s'));
	CacheRegisterSyscacheCallback(USERMAPPINGOID, source_changed, Int32GetDatum('m'));
}

/* Unlike GetUserMapping no error without one: files need no credentials. */
static Oid
user_mapping(Oid serverid, Oid userid, List **options)
{
	HeapTuple	tup;
	Datum		datum;
	bool		isnull;
	Oid			oid;

	tup = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(userid), ObjectIdGetDatum(serverid));
	if (!HeapTupleIsValid(tup))
		tup = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid), ObjectIdGetDatum(serverid));
	if (!HeapTupleIsValid(tup))
		return InvalidOid;
	oid = ((Form_pg_user_mapping) GETSTRUCT(tup))->oid;
	datum = SysCacheGetAttr(USERMAPPINGUSERSERVER, tup, Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		*options = untransformRelOptions(datum);
	ReleaseSysCache(tup);
	return oid;
}

pc_table *
pc_describe_table(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	TupleDesc	desc = RelationGetDescr(rel);
	ForeignTable *ft = GetForeignTable(relid);
	pc_table   *table = palloc0(sizeof(pc_table));
	pc_attribute *attributes = palloc0(sizeof(pc_attribute) * Max(desc->natts, 1));

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && !pc_is_virtual(att))
			describe_column(att, relid, &attributes[table->nattributes++]);
	}
	table->attributes = attributes;
	table->relid = relid;
	table->local_schema = get_namespace_name(RelationGetNamespace(rel));
	table->local_name = pstrdup(RelationGetRelationName(rel));
	table->remote_schema = pc_option_value(ft->options, "schema_name");
	table->remote_name = pc_option_value(ft->options, "table_name");
	table->data_source = pc_option_value(ft->options, "data_source");
	if (table->remote_name == NULL)
		table->remote_name = table->local_name;
	table_close(rel, NoLock);
	return table;
}

static void
describe_column(Form_pg_attribute att, Oid relid, pc_attribute *out)
{
	out->attnum = att->attnum;
	out->type_oid = att->atttypid;
	out->typmod = att->atttypmod;
	out->collation = att->attcollation;
	out->name = pstrdup(NameStr(att->attname));
	out->remote_name = pc_option_value(GetForeignColumnOptions(relid, att->attnum), "column_name");
	if (out->remote_name == NULL)
		out->remote_name = out->name;
	out->type_name = format_type_with_typemod(att->atttypid, att->atttypmod);
	out->base_type = base_type_name(att->atttypid);
	out->not_null = att->attnotnull;
	out->collation_kind = pc_collation_kind(att->attcollation);
}

/* The built-in name; a user's own type of the same name is not one. */
static const char *
base_type_name(Oid type)
{
	Oid			base = getBaseType(type);
	HeapTuple	tup;
	Form_pg_type form;
	const char *name;

	tup = SearchSysCache1(TYPEOID, ObjectIdGetDatum(base));
	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for type %u", base);
	form = (Form_pg_type) GETSTRUCT(tup);
	if (form->typtype == TYPTYPE_ENUM)
		name = "enum";
	else if (form->typnamespace == PG_CATALOG_NAMESPACE)
		name = pstrdup(NameStr(form->typname));
	else
		name = psprintf("%s.%s", get_namespace_name(form->typnamespace), NameStr(form->typname));
	ReleaseSysCache(tup);
	return name;
}

int32
pc_collation_kind(Oid collation)
{
	HeapTuple	tup;
	Form_pg_collation form;
	int32		kind = 'd';

	if (!OidIsValid(collation))
		return 0;
	if (pc_collation_is_c(collation))
		return 'c';
	tup = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tup);
	if (!form->collisdeterministic)
		kind = 'n';
	ReleaseSysCache(tup);
	return kind;
}

/* By the handler's address: names can be changed, the code cannot. */
static bool
is_our_server(Oid serverid)
{
	ForeignServer *server = GetForeignServer(serverid);
	ForeignDataWrapper *wrapper = GetForeignDataWrapper(server->fdwid);
	FmgrInfo	handler;

	if (!OidIsValid(wrapper->fdwhandler))
		return false;
	fmgr_info(wrapper->fdwhandler, &handler);
	return handler.fn_addr == portcullis_fdw_handler;
}

bool
pc_is_our_relation(Oid relid)
{
	HeapTuple	tup;
	Oid			serverid;

	tup = SearchSysCache1(FOREIGNTABLEREL, ObjectIdGetDatum(relid));
	if (!HeapTupleIsValid(tup))
		return false;
	serverid = ((Form_pg_foreign_table) GETSTRUCT(tup))->ftserver;
	ReleaseSysCache(tup);
	return is_our_server(serverid);
}

char *
pc_relation_data_source(Oid relid)
{
	ForeignTable *ft = GetForeignTable(relid);
	const char *value = pc_option_value(ft->options, "data_source");

	return value ? pstrdup(value) : NULL;
}

List *
pc_plan_relations(PlannedStmt *stmt)
{
	List	   *relids = NIL;
	ListCell   *lc;

	foreach(lc, stmt->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_FOREIGN_TABLE &&
			pc_is_our_relation(rte->relid))
			relids = list_append_unique_oid(relids, rte->relid);
	}
	return relids;
}
