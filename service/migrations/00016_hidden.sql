-- +goose Up
ALTER TABLE portcullis.connection_objects ADD COLUMN hidden boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN portcullis.connection_objects.hidden IS 'dropped only as far as crawls look: it is where they do not, and the same when it comes back';
CREATE INDEX connection_objects_hidden ON portcullis.connection_objects (connection, oid) WHERE hidden;

-- +goose Down
ALTER TABLE portcullis.connection_objects DROP COLUMN hidden;
