-- +goose Up
ALTER TABLE portcullis.connection_objects ADD COLUMN parents bigint[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN portcullis.connection_objects.parents IS 'OIDs of the tables that it is a partition or child of, in the same database';

-- +goose Down
ALTER TABLE portcullis.connection_objects DROP COLUMN parents;
