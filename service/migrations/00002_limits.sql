-- +goose Up
CREATE TABLE portcullis.limits (
    source     text NOT NULL REFERENCES portcullis.sources ON DELETE CASCADE,
    group_name text REFERENCES portcullis.groups ON DELETE CASCADE,
    person_id  bigint REFERENCES portcullis.people ON DELETE CASCADE,
    statements bigint CHECK (statements >= 0),
    rows       bigint CHECK (rows >= 0),
    bytes      bigint CHECK (bytes >= 0),
    seconds    bigint CHECK (seconds >= 0),
    CHECK (group_name IS NULL OR person_id IS NULL)
);
COMMENT ON TABLE portcullis.limits IS 'what one person may take from a source: for everyone, for a group, or for one person';
CREATE UNIQUE INDEX ON portcullis.limits (source) WHERE group_name IS NULL AND person_id IS NULL;
CREATE UNIQUE INDEX ON portcullis.limits (source, group_name) WHERE group_name IS NOT NULL;
CREATE UNIQUE INDEX ON portcullis.limits (source, person_id) WHERE person_id IS NOT NULL;
CREATE INDEX ON portcullis.limits (group_name);
CREATE INDEX ON portcullis.limits (person_id);

-- +goose Down
DROP TABLE portcullis.limits;
