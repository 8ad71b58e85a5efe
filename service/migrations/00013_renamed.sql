-- +goose Up
ALTER TABLE portcullis.connection_objects ADD COLUMN former text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN portcullis.connection_objects.former IS 'full names that it had before and that no other object has taken since: whoever takes one gets what was said of it';
CREATE INDEX connection_objects_former ON portcullis.connection_objects (connection) WHERE former <> '{}';

CREATE TABLE portcullis.policy_followed (
    policy      uuid NOT NULL REFERENCES portcullis.policies ON DELETE CASCADE,
    object      uuid NOT NULL REFERENCES portcullis.connection_objects ON DELETE CASCADE,
    column_name text NOT NULL,
    name        text NOT NULL,
    PRIMARY KEY (policy, object, column_name, name)
);
CREATE INDEX ON portcullis.policy_followed (object);
COMMENT ON TABLE portcullis.policy_followed IS 'tables and columns of connections that were renamed while a policy named them: it still means them';
COMMENT ON COLUMN portcullis.policy_followed.column_name IS 'its present name; empty: the table itself';
COMMENT ON COLUMN portcullis.policy_followed.name IS 'as the policy names it';

-- +goose Down
DROP TABLE portcullis.policy_followed;
ALTER TABLE portcullis.connection_objects DROP COLUMN former;
