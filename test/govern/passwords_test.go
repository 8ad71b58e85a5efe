package govern

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/test/world"
)

// testPasswords: what administrators type shows in no log and no statistics,
// also where modules that keep statements are loaded after ours.
func testPasswords(t *testing.T, n *node) {
	n.exec(t, "CREATE EXTENSION pg_stat_statements; CREATE ROLE secretive; CREATE ROLE secretive2")
	key, err := os.ReadFile(n.Service.APIKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	api := strings.TrimSpace(string(key))
	n.set(t, map[string]string{"log_min_duration_statement": "0", "log_parameter_max_length_on_error": "-1", "auto_explain.log_min_duration": "0"})
	watcher := n.Login(t, n.User)
	secret := func(i int) string { return fmt.Sprintf("tell-nobody-%d", i) }
	for i, test := range []struct {
		name, sql string
		extended  bool
		fails     string
	}{
		{name: "create", sql: "CREATE USER MAPPING FOR secretive SERVER src_pg OPTIONS (username 'reader', password '%s')"},
		{name: "alter", sql: "ALTER USER MAPPING FOR secretive SERVER src_pg OPTIONS (SET password '%s')"},
		{name: "extended protocol", sql: "ALTER USER MAPPING FOR secretive SERVER src_pg OPTIONS (SET password '%s')", extended: true},
		{name: "odd quoting", sql: "ALTER USER MAPPING FOR secretive SERVER src_pg OPTIONS (SET \"password\" E'\\x74\\x74'\n'%s')"},
		{name: "dollar quotes", sql: "ALTER USER MAPPING FOR secretive SERVER src_pg OPTIONS (SET password $a$%s$a$)"},
		{name: "among others", sql: "SELECT 1; ALTER USER MAPPING FOR secretive SERVER src_pg OPTIONS (SET password '%s'); SELECT 2"},
		{name: "syntax error", sql: "CREATE USER MAPPING FOR secretive SERVER src_pg OPTIONS (password '%s'", fails: "42601"},
		{name: "unknown role", sql: "CREATE USER MAPPING FOR nobody_knows SERVER src_pg OPTIONS (password '%s')", fails: "42704"},
		{name: "unknown server", sql: "CREATE USER MAPPING FOR secretive SERVER nowhere OPTIONS (password '%s')", fails: "42704"},
		{name: "unknown option", sql: "CREATE USER MAPPING FOR secretive2 SERVER src_pg OPTIONS (password '%s', passwort 'x')", fails: "HV00D"},
		{name: "in a block", sql: "DO $$ BEGIN EXECUTE 'ALTER USER MAPPING FOR secretive SERVER src_pg OPTIONS (SET password ''%s'')'; END $$"},
		{name: "in a function", sql: "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN ALTER USER MAPPING FOR secretive SERVER src_pg OPTIONS (SET password '%s'); END $$; SELECT pg_temp.f()"},
		{name: "with every plan printed", sql: "SET debug_print_parse = on; SET debug_print_rewritten = on; SET debug_print_plan = on; ALTER USER MAPPING FOR secretive SERVER src_pg OPTIONS (SET password '%s'); RESET ALL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn := n.Login(t, n.User)
			var err error
			if sql := fmt.Sprintf(test.sql, secret(i)); test.extended {
				_, err = conn.Exec(t.Context(), sql, pgx.QueryExecModeDescribeExec)
			} else {
				_, err = conn.PgConn().Exec(t.Context(), sql).ReadAll()
			}
			if test.fails != "" {
				wantError(t, err, test.fails, "")
			} else if err != nil {
				t.Fatal(err)
			}
			n.wantHidden(t, watcher, conn, secret(i))
		})
	}
	t.Run("in a function's trees, printed under another statement", func(t *testing.T) {
		conn := n.Login(t, n.User)
		for _, sql := range []string{
			"CREATE FUNCTION pg_temp.g() RETURNS void LANGUAGE plpgsql AS $$ BEGIN ALTER USER MAPPING FOR secretive SERVER src_pg OPTIONS (SET password 'tell-no-tree'); END $$",
			"SET debug_print_parse = on; SET debug_print_rewritten = on; SET debug_print_plan = on",
			"SELECT pg_temp.g()",
		} {
			if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
				t.Fatal(err)
			}
		}
		n.wantHidden(t, watcher, conn, "tell-no-tree")
	})
	t.Run("in what fails and what is logged", func(t *testing.T) {
		for i, test := range []struct{ sql, fails string }{
			{"CREATE SERVER told FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'SQLite3', password '%s')", "HV00D"},
			{"CREATE USER MAPPING FOR secretive2 SERVER src_pg OPTIONS (username 'x', pasword '%s')", "HV00D"},
			{"ALTER USER MAPPING FOR secretive SERVER src_pg OPTIONS (SET username 'x', ADD \"Pass Word\" $a$%s$a$)", "HV00D"},
			{"ALTER SERVER src_pg OPTIONS (DROP host, ADD secret E'\\'%s')", "HV00D"},
			{"SELECT immutasys.set_api_key('malformed key %s')", "22023"},
			{"SELECT immutasys.set_admin_key('malformed key %s')", "22023"},
			{"SET search_path = immutasys; SELECT set_api_key('malformed key %s')", "22023"},
			{"SELECT immutasys.configure('http://localhost:1', 'malformed key %s')", "22023"},
			{"SELECT immutasys.service_call('GET', '/v1/sources', NULL, 'malformed key %s')", "22023"},
			{"SELECT immutasys.create_data_source('immuta.staff_pg', NULL, NULL, 'malformed key %s')", "22023"},
			{"SELECT immutasys.seal('%s'), 1 / 0", "22012"},
			{"SELECT \"immutasys\" . \"seal\" ('%s')", ""},
			{"SELECT immutasys -- the schema\n. /* its */ seal('%s')", ""},
			{"SELECT immutasys.U&\"\\0073eal\"('%s'), U&\"immut\\+000061sys\".seal('%[1]s')", ""},
			{"SELECT immutasys.U&\"!0073eal\" UESCAPE '!' ('%s')", ""},
			{"DO $$ BEGIN PERFORM immutasys.seal('%s'); RAISE division_by_zero; END $$", "22012"},
			{"COPY (SELECT immutasys.seal('%s')) TO STDOUT", ""},
			{"BEGIN; DECLARE c CURSOR FOR SELECT immutasys.seal('%s'); COMMIT", ""},
			{"CREATE TEMPORARY TABLE sealed AS SELECT immutasys.seal('%s') AS s", ""},
			{"EXPLAIN (VERBOSE, COSTS OFF) SELECT 1 WHERE immutasys.seal('%s') = ''", ""},
			{"PREPARE p AS SELECT immutasys.seal('%s'); EXECUTE p", ""},
			{"SET debug_print_parse = on; SET debug_print_plan = on; SELECT immutasys.seal('%s')", ""},
		} {
			conn := n.Login(t, n.User)
			hidden := fmt.Sprintf("keep-this-%d", i)
			_, err := conn.PgConn().Exec(t.Context(), fmt.Sprintf(test.sql, hidden)).ReadAll()
			if test.fails != "" {
				wantError(t, err, test.fails, "")
			} else if err != nil {
				t.Error(err)
			}
			n.wantHidden(t, watcher, conn, hidden)
		}
		conn := n.Login(t, n.User)
		for _, sql := range []string{"SELECT immutasys.seal($1)", "SELECT immutasys.seal($1), 1 / (length($1) - length($1))"} {
			var sealed string
			_ = conn.QueryRow(t.Context(), sql, "keep-this-parameter").Scan(&sealed)
			n.wantHidden(t, watcher, conn, "keep-this-parameter")
		}
		text, err := n.LogText()
		if err != nil || !strings.Contains(text, "CREATE SERVER told FOREIGN DATA WRAPPER portcullis OPTIONS (driver 'SQLite3', password '********')") {
			t.Errorf("the statement is not in the log without its secret, or %v", err)
		}
	})
	t.Run("what is left is whole", func(t *testing.T) {
		conn := n.Login(t, n.User)
		for sql, want := range map[string]string{
			"SELECT (SELECT /* a */ upper(immutasys.seal('x')))":    "SELECT (SELECT /* a */ upper(immutasys.seal('********')))",
			`SELECT "immutasys"."seal"('x')`:                        `SELECT "immutasys"."seal"('********')`,
			"SELECT 'it''s immutasys.seal(', 1":                     "SELECT 'it''s immutasys.seal ********'",
			"SELECT 1 AS \"immutasys.seal\"":                        "SELECT 1 AS \"immutasys.seal\" '********'",
			"SELECT 1 /* /* immutasys.seal */ */":                   "SELECT 1 /* /* immutasys.seal ******** */ */",
			"SELECT 1 -- immutasys.seal":                            "SELECT 1 -- immutasys.seal ********",
			"DO $a$ BEGIN PERFORM immutasys.seal('x'); END $a$":     "DO $a$ BEGIN PERFORM immutasys.seal('********')$a$",
			"DO $$ BEGIN EXECUTE 'SELECT immutasys.seal(1)'; END$$": "DO $$ BEGIN EXECUTE 'SELECT immutasys.seal ********'$$",
		} {
			_, _ = conn.PgConn().Exec(t.Context(), sql).ReadAll()
			var shown string
			if err := watcher.QueryRow(t.Context(), "SELECT query FROM pg_stat_activity WHERE pid = $1", int32(conn.PgConn().PID())).Scan(&shown); err != nil || shown != want {
				t.Errorf("%s is shown as %s, want %s, %v", sql, shown, want, err)
			}
		}
		_, err := conn.Exec(t.Context(), "SELECT immutasys.configure('http://localhost:1', 'malformed key')")
		var e *pgconn.PgError
		want := regexp.MustCompile(`^PL/pgSQL function immutasys.check_api_key\(text\) line \d+ at RAISE
SQL statement "SELECT immutasys.check_api_key\(api_key\)"
PL/pgSQL function immutasys.set_api_key\(text\) line \d+ at PERFORM
SQL statement "SELECT immutasys.set_api_key\('\*{8}'\)"
PL/pgSQL function immutasys.configure\(text,text,text\) line \d+ at PERFORM$`)
		if !errors.As(err, &e) || !want.MatchString(e.Where) {
			t.Errorf("the context is %s", e.Where)
		}
	})
	t.Run("while another statement of the message runs", func(t *testing.T) {
		conn := n.Login(t, n.User)
		n.exec(t, "SELECT pg_advisory_lock(4711)")
		done := make(chan error, 1)
		go func() {
			_, err := conn.PgConn().Exec(t.Context(), "SELECT pg_advisory_lock(4711); ALTER USER MAPPING FOR secretive SERVER src_pg OPTIONS (SET password 'tell-nobody-too')").ReadAll()
			done <- err
		}()
		n.waitsForLock(t, conn)
		n.wantHidden(t, watcher, conn, "tell-nobody-too")
		n.exec(t, "SELECT pg_advisory_unlock(4711)")
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("API keys", func(t *testing.T) {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeDescribeExec} {
			conn := n.Login(t, n.User)
			if _, err := conn.Exec(t.Context(), "SELECT immutasys.service_result('GET', '/v1/sources', NULL, '"+api+"')", mode); err != nil {
				t.Error(err)
			}
			n.wantHidden(t, watcher, conn, api)
			var status int
			if err := conn.QueryRow(t.Context(), "SELECT status FROM immutasys.service_call('GET', '/v1/nowhere', NULL, $1)", api).Scan(&status); err != nil || status != 404 {
				t.Errorf("an unknown path is answered %d, %v", status, err)
			}
			_, err := conn.Exec(t.Context(), "SELECT immutasys.service_result('POST', '/v1/nowhere', '{}', $1)", api)
			wantError(t, err, "02000", "there is nothing at")
			n.wantHidden(t, watcher, conn, api)
		}
	})
	t.Run("names are no API keys", func(t *testing.T) {
		conn := n.Login(t, world.Exempt)
		_, err := conn.Exec(t.Context(), "SELECT pk_order, '"+api+"'")
		wantError(t, err, "42703", `column "pk_order" does not exist`)
		n.wantHidden(t, watcher, conn, api)
		if text, err := n.LogText(); err != nil || !strings.Contains(text, `column "pk_order" does not exist`) {
			t.Errorf("the log does not say which column, or %v", err)
		}
	})
	t.Run("looked for in lists within lists", func(t *testing.T) {
		const lists = 50000 // read once each they would take half a minute
		for _, list := range []struct{ begin, middle, end string }{
			{"options (host $a%d$", "", "$a%d$)"},
			{"($a%d$ E'' ", "immutasys.seal(", "$a%d$)"},
			{`immutasys U&"%d U&" /* "immutasys". `, "", " %d"},
		} {
			var text strings.Builder
			for i := range lists {
				fmt.Fprintf(&text, list.begin, i)
			}
			text.WriteString(list.middle)
			for i := lists - 1; i >= 0; i-- {
				fmt.Fprintf(&text, list.end, i)
			}
			conn := n.Login(t, world.Eve)
			if _, err := conn.Exec(t.Context(), "SET statement_timeout = '5s'; SELECT length($server$"+text.String()+"$server$)", pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Error(list.begin, err)
			}
		}
	})
	t.Run("plans of governed sessions", func(t *testing.T) {
		n.exec(t, "ALTER ROLE eve SET auto_explain.log_verbose = on; ALTER ROLE eve SET auto_explain.log_analyze = on; SELECT immutasys.analyze('immuta.staff_pg')")
		defer n.exec(t, "ALTER ROLE eve RESET auto_explain.log_verbose; ALTER ROLE eve RESET auto_explain.log_analyze; DELETE FROM immutasys.table_statistics")
		seen, err := world.Type(t.Context(), n.As(world.Eve), "SET client_min_messages = log", "SELECT count(*) FROM immuta.staff_pg WHERE length(note) > 3")
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"Remote SQL", "Local because", fmt.Sprintf("rows=%d ", rows), "hr.staff", "board"} {
			if strings.Contains(seen.String(), part) {
				t.Errorf("eve sees %q in %s", part, seen)
			}
		}
		seen, err = world.Type(t.Context(), n.As(world.Exempt), "SET client_min_messages = log", "SELECT count(*) FROM immuta.staff_pg")
		if err != nil || !strings.Contains(seen.String(), "Foreign Scan") {
			t.Errorf("auto_explain tells an exempt session nothing: %v %v", seen, err)
		}
	})
	t.Run("the statements are there without the secrets", func(t *testing.T) {
		wantCount(t, n.admin, "SELECT count(*) FROM pg_stat_statements WHERE query = 'CREATE USER MAPPING FOR secretive SERVER src_pg OPTIONS (username ''reader'', password ''********'')'", 1)
		text, err := n.LogText()
		if err != nil || !strings.Contains(text, "CREATE USER MAPPING FOR secretive SERVER src_pg OPTIONS (username 'reader', password '********')") {
			t.Errorf("the statement is not in the log without its password, or %v", err)
		}
	})
}

// wantHidden looks for a secret where others could read it.
func (n *node) wantHidden(t *testing.T, watcher, typist *pgx.Conn, secret string) {
	t.Helper()
	for _, place := range []string{
		fmt.Sprintf("SELECT query FROM pg_stat_activity WHERE pid = %d", typist.PgConn().PID()),
		"SELECT string_agg(query, '; ') FROM pg_stat_statements",
	} {
		var text string
		if err := watcher.QueryRow(t.Context(), place).Scan(&text); err != nil {
			t.Fatal(err)
		}
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("%s shows %q", place, text[max(0, i-100):i+len(secret)])
		}
	}
	log, err := n.LogText()
	if err != nil {
		t.Fatal(err)
	}
	// Trees print constants as numbers, over lines. Apart from the text, since an alternation would make the search of a long log slow.
	inTree := regexp.MustCompile(strings.ReplaceAll(strings.Trim(fmt.Sprint([]byte(secret)), "[]"), " ", `\s+`))
	for _, form := range []*regexp.Regexp{regexp.MustCompile(regexp.QuoteMeta(secret)), inTree} {
		if at := form.FindStringIndex(log); at != nil {
			t.Errorf("the log shows %q", log[max(0, at[0]-200):at[1]])
		}
	}
}

// waitsForLock waits until a session waits for a lock.
func (n *node) waitsForLock(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	if err := world.Until(t.Context(), waitLimit, func() (bool, error) {
		waits, err := query(t, n.admin, fmt.Sprintf("SELECT count(*) FROM pg_stat_activity WHERE pid = %d AND wait_event_type = 'Lock'", conn.PgConn().PID()))
		return waits == 1, err
	}); err != nil {
		t.Fatal(err)
	}
}
