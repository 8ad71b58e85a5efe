-- +goose Up
-- Names of tables in policies as those of tables are stored: a part is quoted only where it holds a dot or a quote. Data sources of
-- engines may have been given other names, and keep them.
WITH named AS (
    SELECT p.id, n.at, CASE WHEN n.name LIKE '%.%' AND NOT EXISTS (SELECT FROM portcullis.data_sources d WHERE d.name = n.name) AND n.name ~ '^("([^"]|"")+"|[^".]+)([.]("([^"]|"")+"|[^".]+))*$' THEN (
            SELECT string_agg(CASE WHEN u.part ~ '[."]' THEN '"' || replace(u.part, '"', '""') || '"' ELSE u.part END, '.' ORDER BY m.at)
            FROM regexp_matches(n.name, '("(?:[^"]|"")+"|[^".]+)', 'g') WITH ORDINALITY m (found, at),
                LATERAL (SELECT CASE WHEN starts_with(m.found[1], '"') THEN replace(substr(m.found[1], 2, length(m.found[1]) - 2), '""', '"') ELSE m.found[1] END) u (part))
        ELSE n.name END AS name
    FROM portcullis.policies p, jsonb_array_elements_text(p.body -> 'on' -> 'data_sources') WITH ORDINALITY n (name, at)
    WHERE jsonb_typeof(p.body -> 'on' -> 'data_sources') = 'array'
), changed AS (
    UPDATE portcullis.policies p SET version = p.version + 1, body = jsonb_set(p.body, '{on,data_sources}', l.names)
    FROM (SELECT id, jsonb_agg(name ORDER BY at) AS names FROM named GROUP BY id) l
    WHERE l.id = p.id AND p.body -> 'on' -> 'data_sources' <> l.names RETURNING p.id, p.version, p.body
), kept AS (
    INSERT INTO portcullis.policy_history (id, version, body) SELECT id, version, body FROM changed
)
UPDATE portcullis.policy_version SET version = version + 1 WHERE EXISTS (SELECT FROM changed);

-- +goose Down
SELECT 1;
