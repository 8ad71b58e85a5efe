-- What the views read. Nobody but their owner has any right on it.
CREATE SCHEMA IF NOT EXISTS portcullis_views;
REVOKE ALL ON SCHEMA portcullis_views FROM PUBLIC;
CREATE TABLE IF NOT EXISTS portcullis_views.made (
	base oid PRIMARY KEY,
	view oid NOT NULL,
	digest text NOT NULL,
	filled text NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS portcullis_views.person (
	base oid NOT NULL,
	role oid NOT NULL,
	shape bigint NOT NULL,
	PRIMARY KEY (base, role)
);
CREATE TABLE IF NOT EXISTS portcullis_views.slot (
	base oid NOT NULL,
	role oid NOT NULL,
	n integer NOT NULL,
	list text[] NOT NULL,
	PRIMARY KEY (base, role, n)
);
CREATE TABLE IF NOT EXISTS portcullis_views.key (
	base oid PRIMARY KEY,
	inner_block bytea NOT NULL,
	outer_block bytea NOT NULL
);
