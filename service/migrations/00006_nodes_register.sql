-- +goose Up
ALTER TABLE portcullis.api_keys DROP CONSTRAINT api_keys_check;
ALTER TABLE portcullis.api_keys ADD CONSTRAINT api_keys_node_permissions CHECK (node IS NULL OR permissions <@ '{SOURCE_ADMIN}');
COMMENT ON COLUMN portcullis.api_keys.node IS 'without permissions: the node whose tokens the key may fetch; with SOURCE_ADMIN: the node whose tables the key may register';

ALTER TABLE portcullis.sources ADD COLUMN unmanaged boolean NOT NULL DEFAULT false, ADD COLUMN registered_by text NOT NULL DEFAULT '';
COMMENT ON COLUMN portcullis.sources.unmanaged IS 'an administrator makes foreign server and user mapping';
COMMENT ON COLUMN portcullis.sources.registered_by IS 'node with whose key the entry was made: the key may change it';

ALTER TABLE portcullis.data_sources ADD COLUMN registered_by text NOT NULL DEFAULT '';
COMMENT ON COLUMN portcullis.data_sources.registered_by IS 'node with whose key the entry was made: the key may change it';

-- +goose Down
ALTER TABLE portcullis.data_sources DROP COLUMN registered_by;
ALTER TABLE portcullis.sources DROP COLUMN registered_by, DROP COLUMN unmanaged;
DELETE FROM portcullis.api_keys WHERE node IS NOT NULL AND permissions <> '{}';
ALTER TABLE portcullis.api_keys DROP CONSTRAINT api_keys_node_permissions;
ALTER TABLE portcullis.api_keys ADD CONSTRAINT api_keys_check CHECK (node IS NULL OR permissions = '{}');
