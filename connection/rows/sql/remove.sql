DO $do$
DECLARE
	left_over text;
BEGIN
	IF to_regclass('portcullis_broker.row_table') IS NULL THEN
		RETURN;
	END IF;
	IF to_regprocedure('portcullis_broker.row_stands(oid)') IS NULL THEN -- an earlier version installed it
		SELECT string_agg(t.base::regclass::text, ', ') INTO left_over FROM portcullis_broker.row_table t
			WHERE EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = t.base AND p.polname IN ('portcullis_rows', 'portcullis_others'));
	ELSE
		SELECT string_agg(t.base::regclass::text, ', ') INTO left_over FROM portcullis_broker.row_table t WHERE portcullis_broker.row_stands(t.base);
	END IF;
	IF left_over IS NOT NULL THEN
		RAISE EXCEPTION 'tables still have policies: %', left(left_over, 1000)
			USING HINT = 'Delete the connection first, which takes them away.';
	END IF;
	DROP FUNCTION IF EXISTS portcullis_broker.row_policies(jsonb), portcullis_broker.row_remove(oid), portcullis_broker.row_state(), portcullis_broker.row_fill(oid, jsonb, text),
		portcullis_broker.row_filter(oid, jsonb, integer), portcullis_broker.row_operand(oid, jsonb, boolean, boolean),
		portcullis_broker.row_stands(oid), portcullis_broker.row_listed(oid),
		portcullis_broker.row_form(oid, name, text, text), portcullis_broker.row_values(oid, integer);
	DROP TABLE portcullis_broker.row_table, portcullis_broker.row_person, portcullis_broker.row_slot;
END $do$;
