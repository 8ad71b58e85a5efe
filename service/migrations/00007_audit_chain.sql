-- +goose Up
-- json keeps the text of a record as it came, which its digest is of.
ALTER TABLE portcullis.audit_records ALTER COLUMN body TYPE json USING body::text::json;
ALTER TABLE portcullis.audit_records ADD COLUMN seq bigint, ADD COLUMN chain bytea, ADD COLUMN digest bytea, ADD COLUMN original bytea;
COMMENT ON COLUMN portcullis.audit_records.seq IS 'sequence number in the node''s chain';
COMMENT ON COLUMN portcullis.audit_records.chain IS 'the node''s chain value of the record';
COMMENT ON COLUMN portcullis.audit_records.digest IS 'SHA-256 of the record as the node wrote it; NULL: came before records were digested';
COMMENT ON COLUMN portcullis.audit_records.original IS 'the line as it came, where body had to be cleaned to be stored';
UPDATE portcullis.audit_records SET seq = (body ->> 'seq')::bigint, chain = decode(body ->> 'chain', 'hex')
WHERE body ->> 'seq' ~ '^[0-9]{1,18}$' AND body ->> 'chain' ~ '^([0-9a-f]{2})+$';
CREATE INDEX ON portcullis.audit_records (node, seq);
CREATE INDEX ON portcullis.audit_records (node, arrival);

CREATE TABLE portcullis.audit_heads (
    node    text PRIMARY KEY,
    seq     bigint NOT NULL DEFAULT 0,
    chain   bytea NOT NULL DEFAULT '',
    records bigint NOT NULL DEFAULT 0,
    digest  bytea NOT NULL DEFAULT ''
);
COMMENT ON TABLE portcullis.audit_heads IS 'how far the chain of each node has come; its row is locked while records of the node are stored';
COMMENT ON COLUMN portcullis.audit_heads.records IS 'records with a digest';
COMMENT ON COLUMN portcullis.audit_heads.digest IS 'SHA-256 over the digest before, sequence number, chain and digest of each record, in the order of arrival';
INSERT INTO portcullis.audit_heads (node, seq, chain)
SELECT DISTINCT ON (node) node, seq, chain FROM portcullis.audit_records WHERE seq IS NOT NULL ORDER BY node, seq DESC;

CREATE TABLE portcullis.audit_findings (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    found     timestamptz NOT NULL DEFAULT now(),
    node      text NOT NULL,
    kind      text NOT NULL CHECK (kind IN ('gap', 'late', 'fork', 'edit')),
    first_seq bigint NOT NULL,
    last_seq  bigint NOT NULL,
    detail    text NOT NULL DEFAULT ''
);
COMMENT ON TABLE portcullis.audit_findings IS 'what was wrong with a node''s chain when records came';

-- +goose Down
DROP TABLE portcullis.audit_findings, portcullis.audit_heads;
ALTER TABLE portcullis.audit_records DROP COLUMN original, DROP COLUMN digest, DROP COLUMN chain, DROP COLUMN seq;
ALTER TABLE portcullis.audit_records ALTER COLUMN body TYPE jsonb USING body::text::jsonb;
