-- +goose Up
-- Replicas take turns at an engine by locking its row: an advisory lock could
-- be held by everybody who may connect to the database.
CREATE TABLE portcullis.engine_turns (
	node text NOT NULL,
	part text NOT NULL,
	PRIMARY KEY (node, part)
);

-- +goose Down
DROP TABLE portcullis.engine_turns;
