package run

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"portcullis.dev/portcullis/engine/mask"
	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/policy"
)

// pagedBlocks keep a page of the tables below at some thousand rows.
const pagedBlocks = 256 << 10

// pagedTable makes a table of MariaDB in the database paged, and says how to scan all of
// it. The columns are id and v, and what the driver shows of id is of the type given.
func pagedTable(t *testing.T, name, idType, ddl string) *ScanRequest {
	t.Helper()
	if err := servers.mariadb.Exec(t.Context(), "", "CREATE DATABASE IF NOT EXISTS paged; USE paged; "+ddl); err != nil {
		t.Fatal(err)
	}
	base := map[string]string{"bigint": "int8", "numeric(20,0)": "numeric", "text": "text"}[idType]
	oid := map[string]uint32{"bigint": 20, "numeric(20,0)": 1700, "text": 25}[idType]
	source := mariadbSource(t)
	source.Server["database"] = "paged"
	return &ScanRequest{Session: ungoverned, Source: source, Wanted: []int32{2, 1}, Limit: -1, QueryID: time.Now().UnixNano(),
		Table: &fdw.Table{RelID: 100, LocalSchema: "immuta", LocalName: name, RemoteName: name, DataSource: dsOne,
			Columns: []fdw.TableColumn{
				{Attnum: 1, TypeOID: oid, Typmod: -1, Name: "id", RemoteName: "id", TypeName: idType, BaseType: base, CollationKind: 'd'},
				{Attnum: 2, TypeOID: 25, Typmod: -1, Collation: 100, Name: "v", RemoteName: "v", TypeName: "text", BaseType: "text", CollationKind: 'd'},
			}}}
}

func pagingEngine(t *testing.T, s *Source) *Engine {
	t.Helper()
	if err := servers.mariadb.Exec(t.Context(), "", "SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = ON"); err != nil {
		t.Fatal(err)
	}
	return engineFor(t, s, func(c *Config) { c.BlockBytes, c.WholeBytes = pagedBlocks, 1<<20 })
}

// pagesOf counts the pages that a query was read in, by the server's log.
func pagesOf(t *testing.T, r *ScanRequest) int {
	t.Helper()
	out, err := servers.mariadb.Query(t.Context(), "", fmt.Sprintf(`SELECT COUNT(*) FROM mysql.general_log
		WHERE command_type = 'Execute' AND argument LIKE 'SELECT /* portcullis query=%d */%%FORCE INDEX%%'`, r.QueryID))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// heldBy are the rows of a table as its own client prints them, sorted.
func heldBy(t *testing.T, r *ScanRequest) []string {
	t.Helper()
	out, err := servers.mariadb.Query(t.Context(), "paged", "SELECT v, id FROM "+r.Table.RemoteName)
	if err != nil {
		t.Fatal(err)
	}
	return sorted(strings.Split(strings.ReplaceAll(strings.TrimSpace(out), "\t", " "), "\n"))
}

func sorted(lines []string) []string {
	slices.Sort(lines)
	return lines
}

func sameRows(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("row %d is %q, want %q", i, got[i], want[i])
		}
	}
}

// TestPagesBringAllRows has keys at the ends of their types, and rows of unequal width.
func TestPagesBringAllRows(t *testing.T) {
	for name, test := range map[string]struct{ idType, ddl string }{
		"int": {"bigint", `CREATE TABLE %[1]s (id INT PRIMARY KEY, v VARCHAR(50));
			INSERT INTO %[1]s SELECT CAST(seq AS SIGNED) - 15000, CONCAT('v', seq) FROM seq_1_to_30000; INSERT INTO %[1]s VALUES (-2147483648, 'least'), (2147483647, NULL)`},
		"bigint": {"bigint", `CREATE TABLE %[1]s (v VARCHAR(50), id BIGINT NOT NULL, PRIMARY KEY (id));
			INSERT INTO %[1]s SELECT CONCAT('v', seq), (CAST(seq AS SIGNED) - 15000) * 614891469123651 FROM seq_1_to_29999;
			INSERT INTO %[1]s VALUES ('least', -9223372036854775808), ('most', 9223372036854775807)`},
		"unsigned": {"numeric(20,0)", `CREATE TABLE %[1]s (id BIGINT UNSIGNED ZEROFILL PRIMARY KEY, v VARCHAR(50));
			INSERT INTO %[1]s SELECT seq * 614891469123651, CONCAT('v', seq) FROM seq_0_to_29999;
			INSERT INTO %[1]s VALUES (18446744073709551615, 'most')`},
		"int unsigned": {"bigint", `CREATE TABLE %[1]s (id INT UNSIGNED PRIMARY KEY, v VARCHAR(50));
			INSERT INTO %[1]s SELECT seq * 143165, CONCAT('v', seq) FROM seq_0_to_29999; INSERT INTO %[1]s VALUES (4294967295, 'most')`},
		"three columns": {"bigint", `CREATE TABLE %[1]s (id INT, b BIGINT UNSIGNED, c TINYINT, v VARCHAR(50), PRIMARY KEY (c, b, id));
			INSERT INTO %[1]s SELECT seq, 18446744073709551615 - seq %% 50, CAST(seq AS SIGNED) DIV 10000 - 1, CONCAT('v', seq) FROM seq_1_to_30000`},
		"partitions": {"bigint", `CREATE TABLE %[1]s (id INT PRIMARY KEY, v VARCHAR(50)) PARTITION BY HASH (id) PARTITIONS 3;
			INSERT INTO %[1]s SELECT seq, CONCAT('v', seq) FROM seq_1_to_30000`},
		"an odd name": {"bigint", "CREATE TABLE %[1]s (id INT, v VARCHAR(50), `a``\"?b` INT PRIMARY KEY); INSERT INTO %[1]s SELECT seq, CONCAT('v', seq), -seq FROM seq_1_to_30000"},
		"wide rows last": {"bigint", `CREATE TABLE %[1]s (id INT PRIMARY KEY, v MEDIUMTEXT);
			INSERT INTO %[1]s SELECT seq, IF(seq < 29900, 'v', REPEAT('w', 5000)) FROM seq_1_to_30000`},
	} {
		t.Run(name, func(t *testing.T) {
			table := "paged_" + strings.ReplaceAll(name, " ", "_")
			r := pagedTable(t, table, test.idType, fmt.Sprintf(test.ddl, table))
			e := pagingEngine(t, r.Source)
			id := begin(t, e, r)
			for range 2 { // the second is a rescan
				rows, err := readAll(t, e, id)
				if err != nil {
					t.Fatal(err)
				}
				sameRows(t, sorted(texts(rows)), heldBy(t, r))
				if err := e.ScanStart(id, nil); err != nil {
					t.Fatal(err)
				}
			}
			e.ScanEnd(id)
			if n := pagesOf(t, r); n < 4 || n > 60 {
				t.Errorf("%d pages", n)
			}
		})
	}
}

// TestTablesWithoutAnExactKeyAreReadAsAWhole: no snapshot, no key whose order is
// surely the one that it is compared by, or another way that costs the source less.
func TestTablesWithoutAnExactKeyAreReadAsAWhole(t *testing.T) {
	const rows = "INSERT INTO %[1]s (id, v) SELECT seq, CONCAT('v', seq) FROM seq_1_to_20000"
	for name, test := range map[string]struct {
		idType, ddl string
	}{
		"myisam":  {"bigint", "CREATE TABLE %[1]s (id INT PRIMARY KEY, v VARCHAR(50)) ENGINE MyISAM; " + rows},
		"aria":    {"bigint", "CREATE TABLE %[1]s (id INT PRIMARY KEY, v VARCHAR(50)) ENGINE Aria; " + rows},
		"no key":  {"bigint", "CREATE TABLE %[1]s (id INT NOT NULL, v VARCHAR(50)); " + rows},
		"unique":  {"bigint", "CREATE TABLE %[1]s (id INT UNIQUE, v VARCHAR(50)); " + rows},
		"text":    {"text", "CREATE TABLE %[1]s (id VARCHAR(20) PRIMARY KEY, v VARCHAR(50)); " + rows},
		"prefix":  {"text", "CREATE TABLE %[1]s (id VARCHAR(20), v VARCHAR(50), PRIMARY KEY (id(10))); " + rows},
		"in part": {"bigint", "CREATE TABLE %[1]s (id INT, t CHAR(1) DEFAULT '', v VARCHAR(50), PRIMARY KEY (id, t)); " + rows},
		// Many rows share the part that is left when the other one is no key to go by.
		"prefix in part": {"bigint", "CREATE TABLE %[1]s (id INT, a VARCHAR(20), v VARCHAR(50), PRIMARY KEY (a(10), id)); INSERT INTO %[1]s SELECT seq MOD 100, seq, CONCAT('v', seq) FROM seq_1_to_20000"},
		"descending":     {"bigint", "CREATE TABLE %[1]s (id INT, a INT, v VARCHAR(50), PRIMARY KEY (a DESC, id)); INSERT INTO %[1]s SELECT seq MOD 100, seq, CONCAT('v', seq) FROM seq_1_to_20000"},
		"covering":       {"bigint", "CREATE TABLE %[1]s (id INT PRIMARY KEY, v VARCHAR(50), b MEDIUMTEXT, KEY (v)); " + rows},
		"small":          {"bigint", "CREATE TABLE %[1]s (id INT PRIMARY KEY, v VARCHAR(50)); INSERT INTO %[1]s SELECT seq, 'v' FROM seq_1_to_2000"},
		"view":           {"bigint", "CREATE TABLE %[1]s_base (id INT PRIMARY KEY, v VARCHAR(50)); INSERT INTO %[1]s_base SELECT seq, 'v' FROM seq_1_to_20000; CREATE VIEW %[1]s AS SELECT * FROM %[1]s_base"},
		"versioned":      {"bigint", "CREATE TABLE %[1]s (id INT PRIMARY KEY, v VARCHAR(50)) WITH SYSTEM VERSIONING; " + rows + "; UPDATE %[1]s SET v = 'w' WHERE id < 100"},
	} {
		t.Run(name, func(t *testing.T) {
			table := "whole_" + strings.ReplaceAll(name, " ", "_")
			r := pagedTable(t, table, test.idType, fmt.Sprintf(test.ddl, table))
			e := pagingEngine(t, r.Source)
			id := begin(t, e, r)
			got, err := readAll(t, e, id)
			if err != nil {
				t.Fatal(err)
			}
			e.ScanEnd(id)
			sameRows(t, sorted(texts(got)), heldBy(t, r))
			if n := pagesOf(t, r); n != 0 {
				t.Errorf("%d pages", n)
			}
		})
	}
}

// TestConditionsAndLimitsAreNotPaged: an index may answer them.
func TestConditionsAndLimitsAreNotPaged(t *testing.T) {
	r := pagedTable(t, "paged_limit", "bigint", `CREATE TABLE paged_limit (id INT PRIMARY KEY, v VARCHAR(50));
		INSERT INTO paged_limit SELECT seq, 'v' FROM seq_1_to_20000`)
	r.Limit = 15000
	e := pagingEngine(t, r.Source)
	id := begin(t, e, r)
	rows, err := readAll(t, e, id)
	if err != nil || len(rows) != 15000 || pagesOf(t, r) != 0 {
		t.Errorf("%d rows in %d pages, %v", len(rows), pagesOf(t, r), err)
	}
	if sql, _ := e.ScanSQL(id); strings.Contains(sql, "in pages") {
		t.Error(sql)
	}
	e.ScanEnd(id)
	r.Limit = -1
	id = begin(t, e, r)
	if sql, _ := e.ScanSQL(id); !strings.Contains(sql, "in pages") {
		t.Error(sql)
	}
	e.ScanEnd(id)
}

// TestPagesSeeOneSnapshot: keys come, go and move behind and before the page
// that is being read.
func TestPagesSeeOneSnapshot(t *testing.T) {
	r := pagedTable(t, "paged_moving", "bigint", `CREATE TABLE paged_moving (id INT PRIMARY KEY, v VARCHAR(50));
		INSERT INTO paged_moving SELECT seq * 10, CONCAT('v', seq) FROM seq_1_to_30000`)
	before := heldBy(t, r)
	e := pagingEngine(t, r.Source)
	id := begin(t, e, r)
	var got []string
	for i := 0; ; i++ {
		block, state, err := next(t, e, id)
		if err != nil {
			t.Fatal(err)
		}
		if state == ScanEnded {
			break
		}
		got = append(got, texts(mask.Texts(block))...)
		if i%5 != 0 {
			continue
		}
		if err := servers.mariadb.Exec(t.Context(), "paged", fmt.Sprintf(`UPDATE paged_moving SET id = 400000 + id, v = 'moved' WHERE id %% 70 = 0 AND id > %[1]d LIMIT 500;
			UPDATE paged_moving SET id = -id WHERE id > 200000 AND id %% 110 = 0 LIMIT 500;
			DELETE FROM paged_moving WHERE id %% 90 = 0 AND id > %[1]d LIMIT 500; INSERT INTO paged_moving SELECT seq * 10 + 5 + %[2]d %% 5, 'late' FROM seq_1_to_30000 WHERE seq %% 29 = %[2]d`,
			i*1000, i)); err != nil {
			t.Fatal(err)
		}
	}
	e.ScanEnd(id)
	sameRows(t, sorted(got), before)
	if slices.Equal(heldBy(t, r), before) || pagesOf(t, r) < 4 {
		t.Errorf("nothing moved, or %d pages", pagesOf(t, r))
	}
}

// TestNobodyChangesTheKeyWhilePagesAreRead: DDL waits from the first statement of
// the scan on, and the next transaction reads by the key that there is then.
func TestNobodyChangesTheKeyWhilePagesAreRead(t *testing.T) {
	r := pagedTable(t, "paged_ddl", "bigint", `CREATE TABLE paged_ddl (id INT PRIMARY KEY, other INT NOT NULL, v VARCHAR(50));
		INSERT INTO paged_ddl SELECT seq, seq DIV 2, CONCAT('v', seq) FROM seq_1_to_30000`)
	want := heldBy(t, r)
	e := pagingEngine(t, r.Source)
	id := begin(t, e, r)
	block, _, err := next(t, e, id)
	if err != nil {
		t.Fatal(err)
	}
	got := texts(mask.Texts(block))
	for _, ddl := range []string{"ALTER TABLE paged_ddl DROP PRIMARY KEY, ADD KEY (id)", "ALTER TABLE paged_ddl DROP PRIMARY KEY, ADD PRIMARY KEY (v), LOCK=NONE",
		"TRUNCATE TABLE paged_ddl", "DROP TABLE paged_ddl", "RENAME TABLE paged_ddl TO paged_away", "ALTER TABLE paged_ddl MODIFY id VARCHAR(20)"} {
		if err := servers.mariadb.Exec(t.Context(), "paged", "SET lock_wait_timeout = 0; "+ddl); err == nil || !strings.Contains(err.Error(), "Lock wait timeout") {
			t.Errorf("%s: %v", ddl, err)
		}
	}
	rest, err := readAll(t, e, id)
	if err != nil {
		t.Fatal(err)
	}
	sameRows(t, sorted(append(got, texts(rest)...)), want)
	e.ScanEnd(id)
	e.TransactionEnd(true)

	// The table that is known to have a key has equal values in it now.
	if err := servers.mariadb.Exec(t.Context(), "paged", "SET lock_wait_timeout = 20; ALTER TABLE paged_ddl DROP PRIMARY KEY; UPDATE paged_ddl SET id = id DIV 7"); err != nil {
		t.Fatal(err)
	}
	id = begin(t, e, r)
	rows, err := readAll(t, e, id)
	if err != nil {
		t.Fatal(err)
	}
	e.ScanEnd(id)
	sameRows(t, sorted(texts(rows)), heldBy(t, r))
}

// TestPagesThatNobodyWantsAnyMore: a scan that is given up in the middle leaves
// a connection behind that goes on, and no fetch.
func TestPagesThatNobodyWantsAnyMore(t *testing.T) {
	r := pagedTable(t, "paged_left", "bigint", `CREATE TABLE paged_left (id INT PRIMARY KEY, v VARCHAR(50));
		INSERT INTO paged_left SELECT seq, CONCAT('v', seq) FROM seq_1_to_60000`)
	e := pagingEngine(t, r.Source)
	for blocks := range 12 {
		id := begin(t, e, r)
		for range blocks {
			if _, _, err := next(t, e, id); err != nil {
				t.Fatal(err)
			}
		}
		e.ScanEnd(id)
		e.TransactionEnd(blocks%2 == 0)
		waitUntil(t, func() bool {
			e.mu.Lock()
			defer e.mu.Unlock()
			return len(e.fetches) == 0
		})
	}
	id := begin(t, e, r)
	rows, err := readAll(t, e, id)
	if err != nil || len(rows) != 60000 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	e.ScanEnd(id)
	e.TransactionEnd(true)
	waitUntil(t, func() bool { return states(e)["idle"] == len(e.Connections()) })
}

// TestAPageIsCancelled while the next one is being executed or waits.
func TestAPageIsCancelled(t *testing.T) {
	r := pagedTable(t, "paged_killed", "bigint", `CREATE TABLE paged_killed (id INT PRIMARY KEY, v VARCHAR(50));
		INSERT INTO paged_killed SELECT seq, CONCAT('v', seq) FROM seq_1_to_60000`)
	e := pagingEngine(t, r.Source)
	id := begin(t, e, r)
	if _, _, err := next(t, e, id); err != nil {
		t.Fatal(err)
	}
	e.scan(id).fetch.cancel()
	rows, err := readAll(t, e, id)
	if err == nil || len(rows) >= 59000 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	e.ScanEnd(id)
	e.TransactionEnd(false)
	again := begin(t, e, r)
	if rows, err := readAll(t, e, again); err != nil || len(rows) != 60000 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	e.ScanEnd(again)
}

// TestGovernedScansInPages: a row filter goes with each page, and a key that the
// person does not see stays unseen.
func TestGovernedScansInPages(t *testing.T) {
	r := pagedTable(t, "people", "bigint", `CREATE TABLE people (id INT PRIMARY KEY, v VARCHAR(50));
		INSERT INTO people SELECT seq, CONCAT('v', seq % 10) FROM seq_1_to_60000`)
	idAsText := []policy.Column{{Name: "id", Type: "text"}, {Name: "v", Type: "text"}}
	for name, test := range map[string]struct {
		wanted []int32
		d      policy.Decision
		first  string // of the sorted rows
		rows   int
		state  string
	}{
		"filter":            {[]int32{1, 2}, policy.Decision{Filter: &policy.Predicate{Op: policy.OpNe, Column: "v", Values: []policy.Value{{Type: "text", Text: "v3"}}}}, "1 v1", 54000, ""},
		"filter on the key": {[]int32{2}, policy.Decision{Filter: &policy.Predicate{Op: policy.OpGe, Column: "id", Values: []policy.Value{{Type: "integer", Text: "20001"}}}}, "v0", 40000, ""},
		"key under a mask":  {[]int32{1, 2}, policy.Decision{Masks: map[string]policy.Mask{"id": {Kind: policy.MaskNull}}}, "NULL v0", 60000, ""},
		"key rounded":       {[]int32{2, 1}, policy.Decision{Masks: map[string]policy.Mask{"id": {Kind: policy.MaskRound, Base: "100000"}}}, "v0 0", 60000, ""},
		"key not wanted":    {[]int32{2}, policy.Decision{}, "v0", 60000, ""},
		"nothing wanted":    {nil, policy.Decision{}, "", 60000, ""},
		"rows end":          {[]int32{1}, policy.Decision{Limits: policy.Limits{Rows: 31234}}, "1", 31234, stateLimit},
		// The key has changed since the decision: that concerns who reads it.
		"another key, not wanted": {[]int32{2}, policy.Decision{Columns: idAsText}, "v0", 60000, ""},
		"another key, masked":     {[]int32{1, 2}, policy.Decision{Columns: idAsText, Masks: map[string]policy.Mask{"id": {Kind: policy.MaskNull}}}, "NULL v0", 60000, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := pagingEngine(t, r.Source)
			request := *r
			request.QueryID = time.Now().UnixNano()
			request.Wanted = test.wanted
			d := test.d
			if d.Columns == nil {
				d.Columns = []policy.Column{{Name: "id", Type: "integer"}, {Name: "v", Type: "text"}}
			}
			session, decision := governed(t, e, r.Source, d)
			request.Session, request.Decision = session, decision
			id := begin(t, e, &request)
			rows, err := readAll(t, e, id)
			if (err != nil) != (test.state != "") || err != nil && AsError(err).State != test.state {
				t.Fatal(err)
			}
			lines := texts(rows)
			if len(lines) != test.rows || slices.Min(lines) != test.first {
				t.Errorf("%d rows, the first %q", len(lines), slices.Min(lines))
			}
			e.ScanEnd(id)
			if n := pagesOf(t, &request); n < 4 {
				t.Errorf("%d pages", n)
			}
		})
	}
}

// TestAConnectionLostBetweenPagesIsSaidSo: MariaDB's driver calls it a broken pipe.
func TestAConnectionLostBetweenPagesIsSaidSo(t *testing.T) {
	r := pagedTable(t, "lost_between", "bigint", "CREATE TABLE lost_between (id INT PRIMARY KEY, v VARCHAR(50)); INSERT INTO lost_between SELECT seq, 'v' FROM seq_1_to_60000")
	e := pagingEngine(t, r.Source)
	id := begin(t, e, r)
	if _, state, err := next(t, e, id); err != nil || state != ScanBlock {
		t.Fatal(state, err)
	}
	sessions, err := servers.mariadb.Query(t.Context(), "", "SELECT id FROM information_schema.processlist WHERE db = 'paged'")
	if err != nil {
		t.Fatal(err)
	}
	for _, session := range strings.Fields(sessions) {
		if err := servers.mariadb.Exec(t.Context(), "", "KILL "+session); err != nil {
			t.Fatal(err)
		}
	}
	for err == nil {
		var state ScanState
		if _, state, err = next(t, e, id); state == ScanEnded && err == nil {
			t.Fatal("the rows ended as if all had come")
		}
	}
	if e := AsError(err); e.State != stateConnectionLost {
		t.Errorf("%+v", e)
	}
	e.ScanEnd(id)
}
