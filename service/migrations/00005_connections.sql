-- +goose Up
CREATE TABLE portcullis.connections (
    id              uuid PRIMARY KEY,
    name            text NOT NULL UNIQUE CHECK (name <> '' AND octet_length(name) < 64),
    provider        text NOT NULL,
    host            text NOT NULL CHECK (host <> ''),
    port            integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
    database        text NOT NULL CHECK (database <> ''),
    tls             text NOT NULL,
    ca              text NOT NULL DEFAULT '',
    username        text NOT NULL CHECK (username <> ''),
    sealed_password text,
    aws             jsonb,
    mode            text NOT NULL CHECK (mode IN ('broker', 'grantor')),
    prefix          text NOT NULL CHECK (prefix <> ''),
    make_roles      boolean NOT NULL DEFAULT false,
    mapping         jsonb,
    kinds           text[] NOT NULL,
    sync_every_ms   bigint NOT NULL CHECK (sync_every_ms > 0),
    enforce         boolean NOT NULL,
    tags            text[] NOT NULL DEFAULT '{}',
    owners          jsonb NOT NULL DEFAULT '[]',
    system_id       text,
    deleting        boolean NOT NULL DEFAULT false,
    objects_version bigint NOT NULL DEFAULT 1,
    sync_wanted     bigint NOT NULL DEFAULT 0,
    sync_done       bigint NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX connections_system_id ON portcullis.connections (system_id) WHERE NOT starts_with(system_id, 'facts:');
COMMENT ON TABLE portcullis.connections IS 'PostgreSQL instances whose GRANTs follow the subscription policies';
COMMENT ON COLUMN portcullis.connections.system_id IS 'of the instance: two spellings of one host have one; NULL until it was first reached; facts:… may be shared by instances made alike';
COMMENT ON COLUMN portcullis.connections.objects_version IS 'bumped with every change of objects that enforcement reads';
COMMENT ON COLUMN portcullis.connections.sync_wanted IS 'number of complete crawls asked for; sync_done: of those that were done';

CREATE TABLE portcullis.connection_objects (
    id              uuid PRIMARY KEY,
    connection      uuid NOT NULL REFERENCES portcullis.connections ON DELETE CASCADE,
    parent          uuid REFERENCES portcullis.connection_objects ON DELETE CASCADE,
    level           text NOT NULL CHECK (level IN ('database', 'schema', 'table')),
    oid             bigint NOT NULL,
    name            text NOT NULL,
    full_name       text NOT NULL,
    kind            text NOT NULL DEFAULT '',
    remote_owner    text NOT NULL DEFAULT '',
    comment         text NOT NULL DEFAULT '',
    labels          text[] NOT NULL DEFAULT '{}',
    columns         jsonb,
    digest          text NOT NULL DEFAULT '',
    not_enforceable text NOT NULL DEFAULT '',
    fix             text NOT NULL DEFAULT '',
    error           jsonb,
    enforce         boolean,
    tags            text[] NOT NULL DEFAULT '{}',
    column_tags     jsonb NOT NULL DEFAULT '{}',
    owners          jsonb NOT NULL DEFAULT '[]',
    first_seen      timestamptz NOT NULL DEFAULT now(),
    last_seen       timestamptz NOT NULL DEFAULT now(),
    dropped         timestamptz
);
CREATE UNIQUE INDEX ON portcullis.connection_objects (connection, coalesce(parent, connection), oid) WHERE dropped IS NULL;
CREATE INDEX ON portcullis.connection_objects (parent);
CREATE INDEX ON portcullis.connection_objects (connection, level, full_name);
CREATE INDEX ON portcullis.connection_objects (full_name) WHERE level = 'table';
COMMENT ON COLUMN portcullis.connection_objects.full_name IS 'connection.database.schema.table';
COMMENT ON COLUMN portcullis.connection_objects.enforce IS 'NULL: as the level above';
COMMENT ON COLUMN portcullis.connection_objects.last_seen IS 'of databases: the last crawl that read them; below: the last that differed';
COMMENT ON COLUMN portcullis.connection_objects.dropped IS 'no longer there: listed, never granted on; a table made anew is another object';

CREATE TABLE portcullis.connection_waiting (
    connection  uuid NOT NULL REFERENCES portcullis.connections ON DELETE CASCADE,
    full_name   text NOT NULL,
    enforce     boolean,
    tags        text[] NOT NULL,
    column_tags jsonb NOT NULL,
    owners      jsonb NOT NULL,
    PRIMARY KEY (connection, full_name)
);
COMMENT ON TABLE portcullis.connection_waiting IS 'settings of objects that were not seen yet';

CREATE TABLE portcullis.connection_subscriptions (
    object    uuid NOT NULL REFERENCES portcullis.connection_objects ON DELETE CASCADE,
    person_id bigint NOT NULL REFERENCES portcullis.people ON DELETE CASCADE,
    access    text NOT NULL CHECK (access IN ('read', 'write')),
    expires   timestamptz,
    PRIMARY KEY (object, person_id)
);
CREATE INDEX ON portcullis.connection_subscriptions (person_id);
ALTER TABLE portcullis.subscriptions ADD COLUMN access text NOT NULL DEFAULT 'read' CHECK (access IN ('read', 'write'));

CREATE TABLE portcullis.connection_accounts (
    connection uuid NOT NULL REFERENCES portcullis.connections ON DELETE CASCADE,
    person_id  bigint NOT NULL REFERENCES portcullis.people ON DELETE CASCADE,
    state      text NOT NULL CHECK (state IN ('manual', 'none')),
    account    text NOT NULL DEFAULT '',
    role       text NOT NULL DEFAULT '',
    kind       text NOT NULL DEFAULT '',
    PRIMARY KEY (connection, person_id)
);
CREATE INDEX ON portcullis.connection_accounts (person_id);
COMMENT ON TABLE portcullis.connection_accounts IS 'accounts of people that are mapped by hand';

CREATE TABLE portcullis.connection_ledger (
    connection uuid NOT NULL REFERENCES portcullis.connections ON DELETE CASCADE,
    name       text NOT NULL,
    body       jsonb NOT NULL,
    PRIMARY KEY (connection, name)
);
COMMENT ON TABLE portcullis.connection_ledger IS 'the roles that we made on an instance: what is taken back at the end';

CREATE TABLE portcullis.connection_leases (
    connection uuid PRIMARY KEY REFERENCES portcullis.connections ON DELETE CASCADE,
    holder     text NOT NULL,
    fence      bigint NOT NULL,
    expires    timestamptz NOT NULL
);
COMMENT ON TABLE portcullis.connection_leases IS 'which service works on an instance; each new holder has a higher fence';

CREATE TABLE portcullis.connection_status (
    connection uuid PRIMARY KEY REFERENCES portcullis.connections ON DELETE CASCADE,
    body       jsonb NOT NULL,
    progress   jsonb,
    findings   jsonb NOT NULL DEFAULT '[]',
    accounts   jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE portcullis.connection_status IS 'how the last round and the last crawl went';

-- +goose Down
DROP TABLE portcullis.connection_status, portcullis.connection_leases, portcullis.connection_ledger, portcullis.connection_accounts,
    portcullis.connection_subscriptions, portcullis.connection_waiting, portcullis.connection_objects, portcullis.connections;
ALTER TABLE portcullis.subscriptions DROP COLUMN access;
