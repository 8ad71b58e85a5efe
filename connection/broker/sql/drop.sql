DROP FUNCTION IF EXISTS portcullis_broker.tables(jsonb);
DROP FUNCTION IF EXISTS portcullis_broker.about();
DROP FUNCTION IF EXISTS portcullis_broker.list_schema(text);
DROP FUNCTION IF EXISTS portcullis_broker.list_table(regclass);
DROP FUNCTION IF EXISTS portcullis_broker.unlist_schema(text);
DROP FUNCTION IF EXISTS portcullis_broker.unlist_table(regclass);
DROP TABLE IF EXISTS portcullis_broker.listed;
DROP SCHEMA IF EXISTS portcullis_broker;
