-- +goose Up
ALTER TABLE portcullis.data_sources ADD COLUMN unmanaged boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN portcullis.data_sources.unmanaged IS 'an administrator makes and drops the foreign table';
COMMENT ON COLUMN portcullis.data_sources.synced IS 'the foreign table that the columns were last learned from';

-- +goose Down
ALTER TABLE portcullis.data_sources DROP COLUMN unmanaged;
