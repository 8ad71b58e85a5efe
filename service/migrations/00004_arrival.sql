-- +goose Up
ALTER TABLE portcullis.audit_records ADD COLUMN arrival bigint GENERATED ALWAYS AS IDENTITY;
COMMENT ON COLUMN portcullis.audit_records.arrival IS 'the order of records, which arrive in batches; a node sends its own in order';
CREATE INDEX ON portcullis.audit_records (arrival DESC);

-- +goose Down
ALTER TABLE portcullis.audit_records DROP COLUMN arrival;
