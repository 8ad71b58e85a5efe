-- +goose Up
-- Settings are looked up by name at every level.
CREATE INDEX connection_objects_name ON portcullis.connection_objects (full_name);
DROP INDEX portcullis.connection_objects_full_name_idx;
-- A crawl looks for tables that moved between schemas.
CREATE INDEX connection_objects_oid ON portcullis.connection_objects (connection, oid) WHERE dropped IS NULL;

-- +goose Down
DROP INDEX portcullis.connection_objects_oid;
CREATE INDEX connection_objects_full_name_idx ON portcullis.connection_objects (full_name) WHERE level = 'table';
DROP INDEX portcullis.connection_objects_name;
