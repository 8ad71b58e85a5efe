-- +goose Up
CREATE TABLE portcullis.policy_version (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL CHECK (version > 0)
);
COMMENT ON TABLE portcullis.policy_version IS 'bumped in the transaction of every change: the row lock puts changes in one order';
INSERT INTO portcullis.policy_version (version) VALUES (1);

CREATE TABLE portcullis.groups (
    name        text PRIMARY KEY CHECK (name <> ''),
    description text NOT NULL DEFAULT ''
);

CREATE TABLE portcullis.people (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    iamid       text NOT NULL CHECK (iamid <> ''),
    userid      text NOT NULL CHECK (userid <> ''),
    name        text NOT NULL DEFAULT '',
    email       text NOT NULL DEFAULT '',
    status      text NOT NULL CHECK (status IN ('active', 'disabled')),
    impersonate jsonb,
    UNIQUE (iamid, userid)
);

CREATE TABLE portcullis.group_members (
    group_name text NOT NULL REFERENCES portcullis.groups ON DELETE CASCADE,
    person_id  bigint NOT NULL REFERENCES portcullis.people ON DELETE CASCADE,
    PRIMARY KEY (person_id, group_name)
);
CREATE INDEX ON portcullis.group_members (group_name);

CREATE TABLE portcullis.attributes (
    person_id bigint NOT NULL REFERENCES portcullis.people ON DELETE CASCADE,
    name      text NOT NULL CHECK (name <> ''),
    value     text NOT NULL,
    PRIMARY KEY (person_id, name, value)
);

CREATE TABLE portcullis.permissions (
    person_id  bigint NOT NULL REFERENCES portcullis.people ON DELETE CASCADE,
    permission text NOT NULL CHECK (permission IN ('ADMIN', 'GOVERNANCE', 'USER_ADMIN', 'SOURCE_ADMIN', 'AUDIT', 'IMPERSONATE_USER')),
    PRIMARY KEY (person_id, permission)
);

CREATE TABLE portcullis.sources (
    name            text PRIMARY KEY CHECK (name <> '' AND octet_length(name) < 64),
    driver          text NOT NULL CHECK (driver <> ''),
    host            text NOT NULL DEFAULT '',
    port            integer NOT NULL DEFAULT 0 CHECK (port BETWEEN 0 AND 65535),
    database        text NOT NULL DEFAULT '',
    options         jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(options) = 'object'),
    username        text NOT NULL DEFAULT '',
    sealed_password text
);
COMMENT ON COLUMN portcullis.sources.sealed_password IS 'AES-256-GCM with the service''s key file';

CREATE TABLE portcullis.data_sources (
    id              uuid PRIMARY KEY,
    name            text NOT NULL UNIQUE CHECK (name <> ''),
    source          text NOT NULL REFERENCES portcullis.sources,
    remote_schema   text NOT NULL DEFAULT '',
    remote_table    text NOT NULL CHECK (remote_table <> ''),
    local_name      text NOT NULL UNIQUE CHECK (local_name <> '' AND octet_length(local_name) < 64),
    tags            text[] NOT NULL DEFAULT '{}',
    discoverable    boolean NOT NULL DEFAULT false,
    tolerance_ms    bigint NOT NULL CHECK (tolerance_ms BETWEEN 0 AND 86400000),
    contact         text NOT NULL DEFAULT '',
    owner           text NOT NULL DEFAULT '',
    sealed_hash_key text NOT NULL,
    synced          jsonb,
    sync_error      text,
    UNIQUE (source, remote_schema, remote_table)
);
COMMENT ON COLUMN portcullis.data_sources.synced IS 'what the engine''s foreign table was last made from';

CREATE TABLE portcullis.columns (
    data_source uuid NOT NULL REFERENCES portcullis.data_sources ON DELETE CASCADE,
    name        text NOT NULL CHECK (name <> ''),
    ordinal     integer NOT NULL,
    type        text NOT NULL DEFAULT '',
    tags        text[] NOT NULL DEFAULT '{}',
    confirmed   boolean NOT NULL DEFAULT true,
    PRIMARY KEY (data_source, name)
);

CREATE TABLE portcullis.subscriptions (
    data_source uuid NOT NULL REFERENCES portcullis.data_sources ON DELETE CASCADE,
    person_id   bigint NOT NULL REFERENCES portcullis.people ON DELETE CASCADE,
    expires     timestamptz,
    PRIMARY KEY (data_source, person_id)
);

CREATE TABLE portcullis.policies (
    id        uuid PRIMARY KEY,
    name      text NOT NULL UNIQUE CHECK (name <> ''),
    kind      text NOT NULL CHECK (kind IN ('subscription', 'mask', 'filter')),
    version   bigint NOT NULL DEFAULT 1 CHECK (version > 0),
    age_order bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    body      jsonb NOT NULL CHECK (jsonb_typeof(body) = 'object')
);

CREATE TABLE portcullis.policy_history (
    id       uuid NOT NULL,
    version  bigint NOT NULL,
    body     jsonb NOT NULL,
    made_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, version)
);

CREATE TABLE portcullis.nodes (
    name      text PRIMARY KEY CHECK (name <> ''),
    created   timestamptz NOT NULL DEFAULT now(),
    last_seen timestamptz
);

CREATE TABLE portcullis.sql_accounts (
    node      text NOT NULL REFERENCES portcullis.nodes ON DELETE CASCADE,
    role      text NOT NULL CHECK (role <> '' AND octet_length(role) < 64),
    person_id bigint NOT NULL REFERENCES portcullis.people ON DELETE CASCADE,
    role_oid  bigint,
    verifier  text,
    synced    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (node, role)
);
CREATE INDEX ON portcullis.sql_accounts (person_id);
COMMENT ON COLUMN portcullis.sql_accounts.verifier IS 'SCRAM-SHA-256 verifier to be set; NULL: the role keeps its password';

CREATE TABLE portcullis.dropped_accounts (
    node text NOT NULL,
    role text NOT NULL,
    PRIMARY KEY (node, role)
);
COMMENT ON TABLE portcullis.dropped_accounts IS 'roles that the engine still has to lose';

CREATE TABLE portcullis.api_keys (
    id          uuid PRIMARY KEY,
    name        text NOT NULL UNIQUE CHECK (name <> ''),
    key_hash    bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    node        text,
    permissions text[] NOT NULL DEFAULT '{}',
    created     timestamptz NOT NULL DEFAULT now(),
    expires     timestamptz,
    CHECK (node IS NULL OR permissions = '{}')
);
COMMENT ON COLUMN portcullis.api_keys.node IS 'the node whose tokens the key may fetch; a key of a node has no permissions';

CREATE TABLE portcullis.tokens (
    token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    node       text NOT NULL,
    api_key    uuid NOT NULL REFERENCES portcullis.api_keys ON DELETE CASCADE,
    expires    timestamptz NOT NULL
);
CREATE INDEX ON portcullis.tokens (expires);

CREATE TABLE portcullis.audit_records (
    id       text NOT NULL,
    kind     text NOT NULL,
    node     text NOT NULL,
    received timestamptz NOT NULL DEFAULT now(),
    body     jsonb NOT NULL,
    PRIMARY KEY (id, kind, node)
);
CREATE INDEX ON portcullis.audit_records (received DESC);

CREATE TABLE portcullis.change_log (
    seq     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made_at timestamptz NOT NULL DEFAULT now(),
    version bigint,
    actor   text NOT NULL,
    action  text NOT NULL,
    object  text NOT NULL,
    key     text NOT NULL,
    before  jsonb,
    after   jsonb
);
COMMENT ON TABLE portcullis.change_log IS 'every change made through the service; never a secret';

-- +goose Down
DROP TABLE portcullis.change_log, portcullis.audit_records, portcullis.tokens, portcullis.api_keys,
    portcullis.dropped_accounts, portcullis.sql_accounts, portcullis.nodes, portcullis.policy_history, portcullis.policies,
    portcullis.subscriptions, portcullis.columns, portcullis.data_sources, portcullis.sources, portcullis.permissions,
    portcullis.attributes, portcullis.group_members, portcullis.people, portcullis.groups, portcullis.policy_version;
