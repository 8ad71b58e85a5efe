package difftest

import (
	"slices"
	"strings"
	"testing"

	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/odbc"
)

// TestDirectIsWhatTransferMakes reads columns of MariaDB as they are and through
// the expressions of Transfer: where they are described as hoped for, values are the same.
func TestDirectIsWhatTransferMakes(t *testing.T) {
	s := open(t, "mariadb")
	long := "REPEAT('ä', 300)"
	for _, test := range []struct {
		remote, local, base string
		oid                 uint32
		fits                bool
		values              []string
	}{
		{"date", "date", "date", 1082, true, []string{"'0000-00-00'", "'2021-02-31'", "'2021-00-07'", "'0001-01-01'", "'9999-12-31'"}},
		{"datetime", "timestamp", "timestamp", 1114, true, []string{"'0000-00-00 00:00:00'", "'2021-02-31 01:02:03'", "'0001-01-01 00:00:00'", "'9999-12-31 23:59:59'"}},
		{"datetime(1)", "timestamp", "timestamp", 1114, true, []string{"'0000-00-00 00:00:00.1'", "'2021-12-01 01:02:03.9'", "'2021-12-01 01:02:03'"}},
		{"datetime(3)", "timestamp", "timestamp", 1114, true, []string{"'2021-12-01 01:02:03.009'", "'2021-12-01 01:02:03.100'"}},
		{"datetime(6)", "timestamp", "timestamp", 1114, true, []string{"'0000-00-00 00:00:00.000001'", "'1000-01-01 00:00:00.100000'", "'9999-12-31 23:59:59.999999'"}},
		{"decimal(60,30)", "numeric", "numeric", 1700, true, []string{"-0." + strings.Repeat("0", 29) + "1", strings.Repeat("9", 30) + "." + strings.Repeat("9", 30), "-" + strings.Repeat("9", 30) + "." + strings.Repeat("9", 30)}},
		{"decimal(5,5)", "numeric", "numeric", 1700, true, []string{"-0.00001", "0.99999", "0"}},
		{"decimal(12,0) unsigned zerofill", "numeric", "numeric", 1700, true, []string{"7", "999999999999"}},
		{"varchar(400) character set latin1", "text", "text", 25, true, []string{"''", "'äöü€'", "'a '", long, "'''\\\\'"}},
		{"varchar(400) character set ucs2", "text", "text", 25, true, []string{"''", "'日本'", "'a '", long}},
		{"varchar(400) character set utf8mb3", "text", "text", 25, true, []string{"'ä'", "'日本 '", long}},
		{"varchar(400) character set utf8mb4 collate utf8mb4_bin", "character varying(400)", "varchar", 1043, true, []string{"'😀'", "'a\\tb'", long}},
		{"char(20) character set utf8mb4", "text", "text", 25, true, []string{"''", "'a b  '", "'😀'"}},
		{"tinytext character set latin1", "text", "text", 25, true, []string{"''", "'äöü'"}},
		{"text character set utf8mb4", "text", "text", 25, true, []string{"''", long}},
		{"mediumtext character set latin1", "text", "text", 25, true, []string{"''", long}},
		{"longtext character set utf8mb4", "text", "text", 25, true, []string{"''", long, "REPEAT('x', 70000)"}},
		{"json", "text", "text", 25, true, []string{`'{"a": "ä", "b": [1, 2.50]}'`}},
		{"enum('a','ü','') character set latin1", "text", "text", 25, true, []string{"'a'", "'ü'", "''"}},
		{"set('x','y') character set latin1", "text", "text", 25, true, []string{"'x,y'", "''"}},

		{"decimal(65,30)", "numeric", "numeric", 1700, false, []string{"1.5"}},
		{"double", "numeric", "numeric", 1700, false, []string{"0.1"}},
		{"bigint unsigned", "numeric", "numeric", 1700, false, []string{"18446744073709551615"}},
		{"datetime", "date", "date", 1082, false, []string{"'2021-12-01 01:02:03'"}},
		{"date", "timestamp", "timestamp", 1114, false, []string{"'2021-12-01'"}},
		{"timestamp", "timestamp", "timestamp", 1114, false, []string{"'2021-12-01 01:02:03'"}},
		{"varbinary(20)", "text", "text", 25, false, []string{"'ab'"}},
		{"blob", "text", "text", 25, false, []string{"'ab'"}},
		{"bit(8)", "text", "text", 25, false, []string{"b'1000001'"}},
		{"int", "text", "text", 25, false, []string{"7"}},
		{"time", "text", "text", 25, false, []string{"'-01:00:00'"}},
	} {
		t.Run(test.remote+" as "+test.local, func(t *testing.T) {
			if err := s.exec("SET sql_mode = 'ALLOW_INVALID_DATES'; CREATE OR REPLACE TABLE direct (c " + test.remote + " NULL); INSERT INTO direct VALUES (" +
				strings.Join(append(test.values, "NULL"), "), (") + ")"); err != nil {
				t.Fatal(err)
			}
			table := &fdw.Table{LocalName: "direct", RemoteName: "direct", RemoteSchema: s.schema, Columns: []fdw.TableColumn{{Attnum: 1, TypeOID: test.oid, Typmod: -1,
				Name: "c", RemoteName: "c", TypeName: test.local, BaseType: test.base, CollationKind: 'd'}}}
			request := fdw.ScanRequest{Table: table, Wanted: []int32{1}, Limit: -1}
			plain, fits := readAs(t, s, request)
			if fits != test.fits {
				t.Fatalf("fits: %t", fits)
			}
			request.Indirect = true
			through, always := readAs(t, s, request)
			if !always {
				t.Fatal("what Transfer makes does not fit")
			}
			if fits && !slices.Equal(plain, through) {
				t.Errorf("%q as they are, %q through Transfer", plain, through)
			}
			if len(through) != len(test.values)+1 {
				t.Errorf("%d rows", len(through))
			}
		})
	}
}

// readAs reads the only column of a scan and tells whether it was described as hoped for.
func readAs(t *testing.T, s *source, r fdw.ScanRequest) (values []string, fits bool) {
	t.Helper()
	st, err := fdw.Compose(s.dialect, r)
	if err != nil {
		t.Fatal(err)
	}
	cur, err := s.conn.Query(t.Context(), st.SQL, nil, []odbc.Column{{Kind: odbc.Kind(st.Columns[0].Kind), MaxLen: st.Columns[0].MaxLen}}, odbc.QueryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	types, err := cur.Types()
	cur.Close()
	if err != nil {
		t.Fatal(err)
	}
	fits = st.Fits(s.dialect, []fdw.Described{{TypeName: types[0].TypeName, Unsigned: types[0].Unsigned, Precision: types[0].Precision}})
	if !fits {
		return nil, false
	}
	rows, err := s.rows(t.Context(), st, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		values = append(values, show(row[0]))
	}
	if err := s.conn.Rollback(); err != nil {
		t.Fatal(err)
	}
	return values, true
}
