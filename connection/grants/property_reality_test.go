package grants_test

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// tryAll finds, as a person, every role that the person can become, granting
// itself what it may, and tries statements under each. What one role may look up
// another may run.
const tryAll = `DO $do$
DECLARE
	roles text[] := %s; statements text[] := %s;
	person text := session_user; r text; x text; i int; truncating boolean; more boolean := true; done text[] := '{}'; known text[] := '{}';
BEGIN
	WHILE more LOOP
		more := false;
		FOREACH r IN ARRAY roles LOOP
			BEGIN
				EXECUTE format('SET ROLE %%I', r);
				FOREACH x IN ARRAY roles LOOP
					IF x <> person AND NOT r || ' ' || x = ANY (known) THEN
						BEGIN
							EXECUTE format('GRANT %%I TO %%I', x, person);
							known := known || (r || ' ' || x);
							more := true;
						EXCEPTION WHEN OTHERS THEN NULL;
						END;
					END IF;
				END LOOP;
				RESET ROLE;
			EXCEPTION WHEN OTHERS THEN NULL;
			END;
		END LOOP;
	END LOOP;
	FOREACH r IN ARRAY roles LOOP
		BEGIN
			EXECUTE format('SET ROLE %%I', r);
			FOR i IN 1 .. cardinality(statements) LOOP
				BEGIN
					EXECUTE format('PREPARE q%%s AS %%s', i, statements[i]);
				EXCEPTION WHEN OTHERS THEN NULL;
				END;
			END LOOP;
			RESET ROLE;
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	-- A TRUNCATE, undone or not, has what is prepared analysed anew by who runs it.
	FOREACH truncating IN ARRAY ARRAY[false, true] LOOP
	FOREACH r IN ARRAY roles LOOP
		BEGIN
			EXECUTE format('SET ROLE %%I', r);
			FOR i IN 1 .. cardinality(statements) LOOP
				CONTINUE WHEN starts_with(statements[i], 'TRUNCATE') <> truncating;
				BEGIN
					EXECUTE CASE WHEN starts_with(statements[i], 'TRUNCATE') THEN statements[i] ELSE 'EXECUTE q' || i END;
					RAISE SQLSTATE 'PTEST';
				EXCEPTION
					WHEN SQLSTATE 'PTEST' THEN done := done || i::text;
					WHEN OTHERS THEN NULL;
				END;
			END LOOP;
			RESET ROLE;
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	END LOOP;
	PERFORM set_config('test.done', array_to_string(done, ' '), false);
END $do$`

func (r *random) reality(person string) map[string]bool {
	conn, err := pgx.Connect(context.Background(), r.pg.DSNAs(person, "pw", r.db))
	if err != nil {
		r.rt.Fatal(err)
	}
	defer conn.Close(context.Background())
	roles := slices.Concat([]string{person}, r.people, r.groups, []string{"pg_read_all_data", "pg_write_all_data"})
	made, _ := r.ledger.Roles(context.Background())
	for _, m := range made {
		roles = append(roles, m.Name)
	}
	var statements, keys []string
	for _, t := range r.tables {
		for n, table := range append([]string{ident(t.Schema) + "." + ident(t.Name)}, r.beside[t.OID]...) {
			if does, ok := r.does[table]; ok {
				statements = append(statements, "DELETE FROM "+table, "UPDATE "+table+" SET b = 2")
				keys = append(keys, fmt.Sprint(t.OID, " ", does[0], " by another"), fmt.Sprint(t.OID, " ", does[1], " by another"))
				continue
			}
			for i, s := range []string{"SELECT a, b FROM " + table, "SELECT b FROM " + table, "INSERT INTO " + table + " VALUES (1, 1)",
				"UPDATE " + table + " SET a = 1, b = 1", "DELETE FROM " + table, "TRUNCATE " + table} {
				key := fmt.Sprint(t.OID, " ", tried[i])
				if n > 0 && tried[i] == "INSERT" && strings.Contains(table, " 2\"") {
					continue // what is inserted into a parent stays there
				} else if n > 0 {
					key += " by another"
				}
				statements, keys = append(statements, s), append(keys, key)
			}
			statements, keys = append(statements, fmt.Sprintf(hiddenRow, table)), append(keys, fmt.Sprint(t.OID, " ROWS"))
		}
	}
	if err := try(conn, "BEGIN"); err != nil {
		r.rt.Fatal(err)
	}
	if err := try(conn, fmt.Sprintf(tryAll, array(roles), array(statements))); err != nil {
		r.rt.Fatal(err)
	}
	var done string
	if err := conn.QueryRow(context.Background(), `SELECT current_setting('test.done')`).Scan(&done); err != nil {
		r.rt.Fatal(err)
	}
	out := map[string]bool{}
	for _, i := range strings.Fields(done) {
		var n int
		fmt.Sscan(i, &n)
		out[keys[n-1]] = true
	}
	return out
}

func array(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	return "ARRAY[" + strings.Join(quoted, ", ") + "]::text[]"
}
