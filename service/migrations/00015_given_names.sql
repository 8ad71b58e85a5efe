-- +goose Up
CREATE TABLE portcullis.connection_former (
    connection uuid NOT NULL REFERENCES portcullis.connections ON DELETE CASCADE,
    name       text NOT NULL,
    object     uuid NOT NULL REFERENCES portcullis.connection_objects ON DELETE CASCADE,
    PRIMARY KEY (connection, name, object)
);
CREATE INDEX ON portcullis.connection_former (object);
COMMENT ON TABLE portcullis.connection_former IS 'full names that objects had before and that no other object has taken since: whoever takes one gets what was said of it';
INSERT INTO portcullis.connection_former (connection, name, object) SELECT DISTINCT o.connection, n, o.id FROM portcullis.connection_objects o, unnest(o.former) n;

ALTER TABLE portcullis.connection_objects ADD COLUMN given_as text, ADD COLUMN columns_given_as jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN portcullis.connection_objects.given_as IS 'full name that it had when its settings were stated; NULL: the present one';
COMMENT ON COLUMN portcullis.connection_objects.columns_given_as IS 'by present name: the name that a column had when its tags were stated, where that is another one';
UPDATE portcullis.connection_objects SET given_as = former[cardinality(former)]
    WHERE former <> '{}' AND dropped IS NULL AND (enforce IS NOT NULL OR tags <> '{}' OR column_tags <> '{}');
ALTER TABLE portcullis.connection_objects DROP COLUMN former;

-- +goose Down
ALTER TABLE portcullis.connection_objects ADD COLUMN former text[] NOT NULL DEFAULT '{}';
CREATE INDEX connection_objects_former ON portcullis.connection_objects (connection) WHERE former <> '{}';
UPDATE portcullis.connection_objects o SET former = f.names FROM (SELECT object, array_agg(name) AS names FROM portcullis.connection_former GROUP BY 1) f WHERE f.object = o.id;
ALTER TABLE portcullis.connection_objects DROP COLUMN given_as, DROP COLUMN columns_given_as;
DROP TABLE portcullis.connection_former;
