-- +goose Up
ALTER TABLE portcullis.connections ADD COLUMN row_security boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN portcullis.connections.row_security IS 'people who may see some rows of a table see these under its own name';

-- +goose Down
ALTER TABLE portcullis.connections DROP COLUMN row_security;
