package run

import (
	"fmt"
	"strings"
	"testing"

	"portcullis.dev/portcullis/policy"
)

// TestColumnsThatAreNotWhatTheTableSaysAreReadThroughExpressions has numbers and
// dates of other types than the foreign table declares, whose values the driver
// would hand over otherwise than the source prints them.
func TestColumnsThatAreNotWhatTheTableSaysAreReadThroughExpressions(t *testing.T) {
	if err := servers.mariadb.Exec(t.Context(), "", `CREATE DATABASE odd CHARACTER SET utf8mb4; USE odd; CREATE TABLE people (id INT, name VARBINARY(20), pay DECIMAL(65,30), born DATETIME);
		INSERT INTO people VALUES (1, 'ab', -12345678901234567890123456789012345.123456789012345678901234567891, '2024-02-29 00:00:00')`); err != nil {
		t.Fatal(err)
	}
	s := mariadbSource(t)
	s.Server["database"] = "odd"
	e := engineFor(t, s, nil)
	for _, direct := range []bool{true, false} {
		r := wholeTable(s, 1, 2, 3, 4)
		id := begin(t, e, r)
		if first := e.scan(id).request.Indirect; first == direct {
			t.Errorf("the first statement is direct: %t", !first)
		}
		rows, err := readAll(t, e, id)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		for _, v := range rows[0] {
			got += shownAs(v) + " "
		}
		if want := "1 ab -12345678901234567890123456789012345.123456789012345678901234567891 2024-02-29 00:00:00 "; got != want || len(rows) != 1 {
			t.Errorf("%d rows, %s", len(rows), got)
		}
		if e.scan(id).reading.Load().statement.Described() {
			t.Error("what was read is direct")
		}
		e.ScanEnd(id)
	}
}

// TestAPolicyHoldsHoweverTheColumnsAreRead: which columns are fetched, and
// whether one serves both a mask and the row filter, differs between the two ways.
func TestAPolicyHoldsHoweverTheColumnsAreRead(t *testing.T) {
	for i, digits := range []string{"10,2", "65,30"} {
		t.Run(digits, func(t *testing.T) {
			s := mariadbSource(t)
			s.Server["database"] = fmt.Sprintf("read%d", i)
			if err := servers.mariadb.Exec(t.Context(), "", fmt.Sprintf(`CREATE DATABASE %s CHARACTER SET utf8mb4; USE %[1]s;
				CREATE TABLE people (id INT, name VARCHAR(20), pay DECIMAL(%s), born DATE);
				INSERT INTO people VALUES (1, 'a', 14, '2024-02-27'), (2, 'b', 26, '2024-02-28'), (3, 'c', 37, NULL)`, s.Server["database"], digits)); err != nil {
				t.Fatal(err)
			}
			e := engineFor(t, s, nil)
			session, decision := governed(t, e, s, policy.Decision{
				Masks: map[string]policy.Mask{"pay": {Kind: policy.MaskRound, Base: "10"}, "name": {Kind: policy.MaskNull}},
				Filter: &policy.Predicate{Op: policy.OpAnd, Args: []*policy.Predicate{ // values that MariaDB does not have
					{Op: policy.OpLt, Column: "pay", Values: []policy.Value{{Type: "numeric", Text: "1" + strings.Repeat("0", 70)}}},
					{Op: policy.OpGe, Column: "born", Values: []policy.Value{{Type: "date", Text: "0044-03-15 BC"}}}}},
			})
			r := wholeTable(s, 4, 3, 2, 1)
			r.Session, r.Decision = session, decision
			id := begin(t, e, r)
			defer e.ScanEnd(id)
			rows, err := readAll(t, e, id)
			if err != nil {
				t.Fatal(err)
			}
			if e.scan(id).reading.Load().statement.Filter == nil {
				t.Fatal("the source filters")
			}
			var got string
			for _, row := range rows {
				for _, v := range row {
					got += shownAs(v) + " "
				}
			}
			if want := "2024-02-27 10 NULL 1 2024-02-28 20 NULL 2 "; got != want {
				t.Errorf("%s", got)
			}
		})
	}
}
