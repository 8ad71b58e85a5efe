-- +goose Up
ALTER TABLE portcullis.connections ADD COLUMN views boolean NOT NULL DEFAULT false, ADD COLUMN sealed_hash_key text;
COMMENT ON COLUMN portcullis.connections.views IS 'people who may see a part of a table get a barrier view';
COMMENT ON COLUMN portcullis.connections.sealed_hash_key IS 'of hash masks in views: each table has a key derived from it; made at first need';

-- +goose Down
ALTER TABLE portcullis.connections DROP COLUMN views, DROP COLUMN sealed_hash_key;
