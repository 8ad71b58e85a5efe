-- +goose Up
CREATE TABLE portcullis.connection_query_audits (
    connection uuid PRIMARY KEY REFERENCES portcullis.connections ON DELETE CASCADE,
    who        text NOT NULL CHECK (who IN ('mapped', 'everybody')),
    position   jsonb,
    due        timestamptz NOT NULL DEFAULT now(),
    last_read  timestamptz,
    records    bigint NOT NULL DEFAULT 0,
    damaged    bigint NOT NULL DEFAULT 0,
    lost       text NOT NULL DEFAULT '',
    error      jsonb
);
COMMENT ON TABLE portcullis.connection_query_audits IS 'instances whose log is read into the audit';
COMMENT ON COLUMN portcullis.connection_query_audits.position IS 'up to where the log was read; NULL: reading begins at its end';
COMMENT ON COLUMN portcullis.connection_query_audits.due IS 'when it is read next; ahead while a service reads it';

-- +goose Down
DROP TABLE portcullis.connection_query_audits;
