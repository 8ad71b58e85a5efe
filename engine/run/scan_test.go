package run

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"portcullis.dev/portcullis/engine/mask"
	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/internal/testenv"
	"portcullis.dev/portcullis/policy"
)

// rowsIn is the number of rows of the sample table.
const rowsIn = 5000

// sources are one source of each kind with the table "people": id 0 to
// rowsIn-1, name "n" and id (NULL where id ends with 7), pay id/100 as a
// numeric, born a date.
func sources(t *testing.T) map[string]*Source {
	t.Helper()
	return map[string]*Source{"sqlite": sqliteSource(t), "postgres": postgresSource(t), "mariadb": mariadbSource(t)}
}

const sqlitePeople = `CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, pay TEXT, born TEXT);
	WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM s WHERE i < 4999)
	INSERT INTO people SELECT i, CASE WHEN i % 10 <> 7 THEN 'n' || i END, (i / 100) || '.' || substr('0' || (i % 100), -2), '2024-02-29' FROM s;`

func sqliteSource(t *testing.T) *Source {
	file := testenv.SQLiteFile(t, "people.db", sqlitePeople)
	return &Source{ServerOID: 3, ServerName: "lite", Server: map[string]string{"driver": "SQLite3", "database": file.Path}, Mapping: map[string]string{"folder": file.Folder}}
}

// postgresSource is a database of its own, so that tests may change it.
func postgresSource(t *testing.T) *Source {
	t.Helper()
	p := servers.postgres
	name := fmt.Sprintf("d%d", servers.databases.Add(1))
	if err := p.Exec(t.Context(), "postgres", "CREATE DATABASE "+name+" TEMPLATE people"); err != nil {
		t.Fatal(err)
	}
	return &Source{ServerOID: 1, MappingOID: 11, ServerName: "pg",
		Server:  map[string]string{"driver": "PostgreSQL Unicode", "host": "127.0.0.1", "port": strconv.Itoa(p.Port), "database": name},
		Mapping: map[string]string{"username": p.User, "password": p.Password}}
}

func mariadbSource(*testing.T) *Source {
	m := servers.mariadb
	return &Source{ServerOID: 2, MappingOID: 12, ServerName: "maria",
		Server:  map[string]string{"driver": "MariaDB Unicode", "host": "127.0.0.1", "port": strconv.Itoa(m.Port), "database": "d"},
		Mapping: map[string]string{"username": m.User, "password": m.Password}}
}

// people is the foreign table over a source's sample table.
func people(s *Source) *fdw.Table {
	t := &fdw.Table{RelID: 100, LocalSchema: "immuta", LocalName: "people", RemoteName: "people", DataSource: dsOne,
		Columns: []fdw.TableColumn{
			{Attnum: 1, TypeOID: 23, Typmod: -1, Name: "id", RemoteName: "id", TypeName: "integer", BaseType: "int4"},
			{Attnum: 2, TypeOID: 25, Typmod: -1, Collation: 100, Name: "name", RemoteName: "name", TypeName: "text", BaseType: "text", CollationKind: 'd'},
			{Attnum: 3, TypeOID: 1700, Typmod: -1, Name: "pay", RemoteName: "pay", TypeName: "numeric", BaseType: "numeric"},
			{Attnum: 4, TypeOID: 1082, Typmod: -1, Name: "born", RemoteName: "born", TypeName: "date", BaseType: "date"},
		}}
	if s.ServerName == "pg" {
		t.RemoteSchema = "public"
	}
	return t
}

func engineFor(t *testing.T, s *Source, change func(*Config)) *Engine {
	folder := s.Mapping["folder"]
	delete(s.Mapping, "folder")
	return newTestEngine(t, func(c *Config) {
		c.FileFolder = folder
		if change != nil {
			change(c)
		}
	})
}

var ungoverned = &Session{RoleOID: 10, Role: "postgres", Database: "immuta", Node: "n1"}

// begin starts a scan of the wanted columns.
func begin(t *testing.T, e *Engine, r *ScanRequest) uint64 {
	t.Helper()
	id, err := e.ScanBegin(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.ScanStart(id, nil); err != nil {
		t.Fatal(err)
	}
	return id
}

func wholeTable(s *Source, wanted ...int32) *ScanRequest {
	return &ScanRequest{Session: ungoverned, Source: s, Table: people(s), Wanted: wanted, Limit: -1, QueryID: 42}
}

// readAll reads a scan to its end as text.
func readAll(t *testing.T, e *Engine, id uint64) ([][]*string, error) {
	t.Helper()
	var rows [][]*string
	for {
		block, state, err := next(t, e, id)
		if err != nil || state == ScanEnded {
			return rows, err
		}
		rows = append(rows, mask.Texts(block)...)
	}
}

// next waits for the next block, the end or an error.
func next(t *testing.T, e *Engine, id uint64) (block unsafe.Pointer, state ScanState, err error) {
	t.Helper()
	until(t, e, func() bool {
		block, state, err = e.ScanNext(id)
		return state != ScanWaits
	})
	return block, state, err
}

func shownAs(v *string) string {
	if v == nil {
		return "NULL"
	}
	return *v
}

// Nobody is woken for the end of the rows alone where the last block is short.
func TestTheEndComesWithTheLastBlock(t *testing.T) {
	for name, s := range sources(t) {
		t.Run(name, func(t *testing.T) {
			e := engineFor(t, s, nil)
			r := wholeTable(s, 1, 2)
			r.Limit = 3
			id := begin(t, e, r)
			if _, state, err := next(t, e, id); err != nil || state != ScanBlock {
				t.Fatalf("state %v, %v", state, err)
			}
			if _, state, err := e.ScanNext(id); err != nil || state != ScanEnded {
				t.Errorf("after the last block: state %v, %v", state, err)
			}
			if n, _ := e.ScanEnd(id); n != 3 {
				t.Errorf("%d rows", n)
			}
		})
	}
}

func TestScansBringAllRows(t *testing.T) {
	for name, s := range sources(t) {
		t.Run(name, func(t *testing.T) {
			e := engineFor(t, s, func(c *Config) { c.BlockBytes = 256 << 10 })
			id := begin(t, e, wholeTable(s, 2, 1, 3, 4))
			for pass := range 2 { // the second is a rescan
				rows, err := readAll(t, e, id)
				if err != nil {
					t.Fatal(err)
				}
				if len(rows) != rowsIn {
					t.Fatalf("%d rows", len(rows))
				}
				seen := map[string]bool{}
				for _, r := range rows {
					i, _ := strconv.Atoi(*r[1])
					want := fmt.Sprintf("n%d|%d.%02d|2024-02-29", i, i/100, i%100)
					if i%10 == 7 {
						want = strings.Replace(want, "n"+*r[1], "NULL", 1)
					}
					if got := shownAs(r[0]) + "|" + shownAs(r[2]) + "|" + shownAs(r[3]); got != want {
						t.Fatalf("row %d: %s, want %s", i, got, want)
					}
					seen[*r[1]] = true
				}
				if len(seen) != rowsIn {
					t.Fatalf("%d distinct rows", len(seen))
				}
				if pass == 0 {
					if err := e.ScanStart(id, nil); err != nil {
						t.Fatal(err)
					}
				}
			}
			if sql, ok := e.ScanSQL(id); !ok || !strings.Contains(sql, "portcullis query=42") {
				t.Errorf("%v %q", ok, sql)
			}
			if n, bytes := e.ScanEnd(id); n != 2*rowsIn || bytes < 10*rowsIn {
				t.Errorf("%d rows, %d bytes", n, bytes)
			}
			if n := len(e.Connections()); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

func TestScansOfOneStatementShareARemoteTransaction(t *testing.T) {
	for name, s := range sources(t) {
		t.Run(name, func(t *testing.T) {
			e := engineFor(t, s, nil)
			var scans []uint64
			for range 3 {
				scans = append(scans, begin(t, e, wholeTable(s, 1)))
			}
			for _, id := range scans {
				rows, err := readAll(t, e, id)
				if err != nil || len(rows) != rowsIn {
					t.Fatalf("%d rows, %v", len(rows), err)
				}
			}
			list := e.Connections()
			statements, unused := 0, 0
			for _, c := range list {
				n, _ := strconv.Atoi(*c[5])
				statements += n
				if n == 0 { // opened for a scan that then took one that became free
					unused++
					continue
				}
				if *c[6] != "true" {
					t.Errorf("not in a transaction: %v", texts(list))
				}
			}
			// SQLite's driver streams one statement a connection.
			if statements != 3 || name != "sqlite" && len(list) != 1 {
				t.Fatalf("%v", texts(list))
			}
			for _, id := range scans {
				e.ScanEnd(id)
			}
			if e.Disconnect(0) > unused {
				t.Error("a connection in a transaction was closed")
			}
			e.TransactionEnd(true)
			waitUntil(t, func() bool {
				list = e.Connections()
				return states(e)["idle"] == len(list) && !slices.ContainsFunc(list, func(c []*string) bool { return *c[6] != "false" })
			})
			if n := e.Disconnect(s.ServerOID + 1); n != 0 {
				t.Errorf("%d connections of another server closed", n)
			}
			if n := e.Disconnect(s.ServerOID); n != len(list) {
				t.Errorf("%d connections closed", n)
			}
			waitUntil(t, func() bool { return len(e.Connections()) == 0 })
		})
	}
}

func texts(rows Rows) (out []string) {
	for _, r := range rows {
		var cells []string
		for _, c := range r {
			cells = append(cells, shownAs(c))
		}
		out = append(out, strings.Join(cells, " "))
	}
	return out
}

// governed gives a session whose decisions are d, and the id of its decision.
func governed(t *testing.T, e *Engine, s *Source, d policy.Decision) (*Session, uint64) {
	t.Helper()
	d.Unmanaged = s.ServerName == "lite" // people has other types there than the foreign table
	d.DataSource, d.Allowed, d.Source, d.RemoteTable, d.MaxAgeMS = dsOne, true, s.ServerName, "people", 60000
	if s.ServerName == "pg" {
		d.RemoteSchema = "public"
	}
	if d.Columns == nil {
		d.Columns = []policy.Column{{Name: "id", Type: "integer"}, {Name: "name", Type: "text"}, {Name: "pay", Type: "numeric"}, {Name: "born", Type: "date"}}
	}
	session, _ := answering(t, func(decisionsRequest) (int, any) {
		return http.StatusOK, map[string]any{"version": 7, "decisions": []policy.Decision{d}}
	})
	answers, err := decideAll(t, e, session, dsOne)
	if err != nil {
		t.Fatal(err)
	}
	return session, answers[0].ID
}

func TestGovernedScansShowWhatTheDecisionSays(t *testing.T) {
	constant := "hidden"
	key := []byte("0123456789abcdef0123456789abcdef")
	for name, s := range sources(t) {
		t.Run(name, func(t *testing.T) {
			e := engineFor(t, s, nil)
			session, id := governed(t, e, s, policy.Decision{
				Filter: &policy.Predicate{Op: policy.OpGe, Column: "id", Values: []policy.Value{{Type: "integer", Text: "4000"}}},
				Masks: map[string]policy.Mask{
					"name": {Kind: policy.MaskHash, Key: key},
					"pay":  {Kind: policy.MaskRound, Base: "10"},
					"born": {Kind: policy.MaskTruncate, Unit: "year"},
				}})
			r := wholeTable(s, 1, 2, 3, 4)
			r.Session, r.Decision = session, id
			scan := begin(t, e, r)
			if sql, ok := e.ScanSQL(scan); ok || sql != "" {
				t.Errorf("a governed scan shows its SQL: %s", sql)
			}
			rows, err := readAll(t, e, scan)
			if err != nil || len(rows) != 1000 {
				t.Fatalf("%d rows, %v", len(rows), err)
			}
			hashes := map[string]bool{}
			for _, r := range rows {
				i, _ := strconv.Atoi(*r[0])
				if i < 4000 || shownAs(r[2]) != "40" || shownAs(r[3]) != "2024-01-01" {
					t.Fatalf("row %v", texts(Rows{r}))
				}
				if (r[1] == nil) != (i%10 == 7) || r[1] != nil && len(*r[1]) != 64 {
					t.Fatalf("row %v", texts(Rows{r}))
				}
				hashes[shownAs(r[1])] = true
			}
			if len(hashes) != 901 {
				t.Errorf("%d distinct hashes", len(hashes))
			}
			e.ScanEnd(scan)

			session, id = governed(t, e, s, policy.Decision{
				Columns: []policy.Column{{Name: "id", Type: "integer"}, {Name: "name", Type: "text"}, {Name: "born", Type: "date"}},
				Masks: map[string]policy.Mask{
					"name": {Kind: policy.MaskConstant, Constant: &constant}, "born": {Kind: policy.MaskNull},
				}})
			session.Role = "bob"
			answers, err := decideAll(t, e, session, dsOne)
			if err != nil {
				t.Fatal(err)
			}
			r = wholeTable(s, 4, 2, 3)
			r.Session, r.Decision = session, answers[0].ID
			rows, err = readAll(t, e, begin(t, e, r))
			if err != nil || len(rows) != 5000 {
				t.Fatalf("%d rows, %v (id %d)", len(rows), err, id)
			}
			shown := map[string]int{}
			for _, r := range rows { // pay is not in the dictionary: a new column
				shown[shownAs(r[0])+shownAs(r[1])+shownAs(r[2])]++
			}
			if len(shown) != 2 || shown["NULLhiddenNULL"] != 4500 || shown["NULLNULLNULL"] != 500 {
				t.Fatal(shown)
			}
		})
	}
}

// Under nulls: mask nobody sees which values are missing, in no source.
func TestMissingValuesAreHidden(t *testing.T) {
	constant, key := "hidden", []byte("0123456789abcdef0123456789abcdef")
	for name, s := range sources(t) {
		t.Run(name, func(t *testing.T) {
			e := engineFor(t, s, nil)
			for _, m := range []policy.Mask{{Kind: policy.MaskConstant, Constant: &constant, Nulls: policy.NullsMask}, {Kind: policy.MaskHash, Key: key, Nulls: policy.NullsMask}} {
				session, _ := governed(t, e, s, policy.Decision{Masks: map[string]policy.Mask{"name": m}})
				session.Role = "sees " + string(m.Kind)
				answers, err := decideAll(t, e, session, dsOne)
				if err != nil {
					t.Fatal(err)
				}
				r := wholeTable(s, 1, 2)
				r.Session, r.Decision = session, answers[0].ID
				rows, err := readAll(t, e, begin(t, e, r))
				if err != nil || len(rows) != 5000 {
					t.Fatalf("%s: %d rows, %v", m.Kind, len(rows), err)
				}
				shown := map[string]int{}
				for _, r := range rows {
					shown[shownAs(r[1])]++
				}
				// 4500 values and one hash for the 500 that are missing.
				want := map[policy.MaskKind]int{policy.MaskConstant: 1, policy.MaskHash: 4501}[m.Kind]
				if shown["NULL"] != 0 || len(shown) != want {
					t.Errorf("%s: %d NULLs, %d different", m.Kind, shown["NULL"], len(shown))
				}
			}
		})
	}
}

func TestScansThatTheDecisionIsNotForAreRefused(t *testing.T) {
	s := sqliteSource(t)
	e := engineFor(t, s, nil)
	session, id := governed(t, e, s, policy.Decision{Masks: map[string]policy.Mask{"id": {Kind: policy.MaskHash, Key: make([]byte, 32)}}})
	const denied = "permission denied for table people"
	for name, test := range map[string]struct {
		change        func(*ScanRequest)
		state         string
		message, says string
	}{
		"nothing":       {func(*ScanRequest) {}, "", "", ""},
		"no decision":   {func(r *ScanRequest) { r.Decision = 0 }, stateDenied, denied, "No decision"},
		"unknown":       {func(r *ScanRequest) { r.Decision = 999 }, stateDenied, "not known any more", ""},
		"another role":  {func(r *ScanRequest) { s := *r.Session; s.Role = "eve"; r.Session = &s }, stateDenied, "made for something else", ""},
		"another ds":    {func(r *ScanRequest) { r.Table.DataSource = dsTwo }, stateDenied, "made for something else", ""},
		"another table": {func(r *ScanRequest) { r.Table.RemoteName = "secrets" }, stateDenied, denied, "The table_name of"},
		"server":        {func(r *ScanRequest) { s := *r.Source; s.ServerName = "other"; r.Source = &s }, stateDenied, denied, "The server of"},
		"schema":        {func(r *ScanRequest) { r.Table.RemoteSchema = "other" }, stateDenied, denied, "The schema_name of"},
		"hash of int":   {func(r *ScanRequest) { r.Wanted = []int32{1} }, stateMismatch, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := wholeTable(s, 2)
			r.Session, r.Decision = session, id
			test.change(r)
			_, err := e.ScanBegin(r)
			if err == nil {
				err = &Error{}
			}
			if got := AsError(err); got.State != test.state || !strings.Contains(got.Message, test.message) || !strings.Contains(got.Detail, test.says) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestCountAndImport(t *testing.T) {
	for name, s := range sources(t) {
		t.Run(name, func(t *testing.T) {
			e := engineFor(t, s, nil)
			result := func(ticket uint64, err error) Rows {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				var rows Rows
				until(t, e, func() bool {
					var done bool
					rows, done, err = e.TicketResult(ticket)
					return done
				})
				if err != nil {
					t.Fatal(err)
				}
				return rows
			}
			rows := texts(result(e.Count(s, people(s), true)))
			if len(rows) != 5 || rows[0] != "5000" || rows[1] != "id 5000 0" || rows[2] != "name 4500 0.1" || rows[4] != "born 1 0" {
				t.Errorf("%q", rows)
			}
			if rows := texts(result(e.Count(s, people(s), false))); len(rows) != 1 || rows[0] != "5000" {
				t.Errorf("%q", rows)
			}
			schema := map[string]string{"pg": "public", "maria": "d", "lite": "main"}[s.ServerName]
			rows = texts(result(e.Import(&ImportRequest{Source: s, RemoteSchema: schema, LocalSchema: "x", Options: map[string]string{}})))
			if len(rows) != 1 || !strings.HasPrefix(rows[0], "CREATE FOREIGN TABLE") {
				t.Errorf("%q", rows)
			}
		})
	}
}

func TestAuditRecordsTellWhatWasDecidedAndSent(t *testing.T) {
	s := sqliteSource(t)
	e := engineFor(t, s, nil)
	session, id := governed(t, e, s, policy.Decision{
		Filter:   &policy.Predicate{Op: policy.OpEq, Column: "name", Values: []policy.Value{{Type: "text", Text: "s3cret"}}},
		Masks:    map[string]policy.Mask{"name": {Kind: policy.MaskHash, Key: []byte("keykeykeykeykey!"), Policy: "p9"}},
		Policies: []policy.PolicyRef{{ID: "p9", Version: 3, Kind: "mask"}}, Person: policy.PersonRef{IAMID: "i", UserID: "u"}, Version: 7,
	})
	r := wholeTable(s, 2)
	r.Session, r.Decision = session, id
	scan := begin(t, e, r)
	statement := "SELECT name, '\xff' FROM people --" + strings.Repeat("ü", maxStatement)
	line, err := e.AuditRecord(&AuditRequest{Session: session, Kind: "intent", RecordID: "r1", Statement: &statement, QueryID: 42, Scans: []uint64{scan}})
	if err != nil {
		t.Fatal(err)
	}
	var record auditRecord
	if err := json.Unmarshal(line, &record); err != nil {
		t.Fatal(err)
	}
	table := record.Tables[0]
	if record.Role != "ann" || record.Person.UserID != "u" || record.StatementBytes != len(statement) || len(*record.Statement) > maxStatement+8 ||
		table.Masks["name"] != "hash p9" || !table.Filtered || len(table.RemoteSHA256) != 64 || table.Policies[0].Version != 3 || *table.Allowed != true {
		t.Errorf("%s", line)
	}
	if text := string(line); strings.Contains(text, "s3cret") || strings.Contains(text, "keykey") || strings.Contains(text, "\n") {
		t.Errorf("a secret or line feed: %.300s", text)
	}
	state := "57014"
	line, err = e.AuditRecord(&AuditRequest{Session: session, Kind: "completion", RecordID: "r1", Rows: 3, Bytes: 9, SQLState: &state})
	if err != nil || !strings.Contains(string(line), `"rows":3,"bytes":9,"outcome":"error","sqlstate":"57014"`) {
		t.Errorf("%s %v", line, err)
	}
}
