package govern

import (
	"fmt"
	"testing"
	"time"

	"portcullis.dev/portcullis/policy"
	"portcullis.dev/portcullis/service"
	"portcullis.dev/portcullis/test/world"
)

const countSales = "SELECT count(*) FROM immuta.staff_pg WHERE dept = 'sales'"

// The two settings count only as a pair that was SET in one transaction.
func testImpersonation(t *testing.T, n *node) {
	maxPerson := service.Person{UserID: world.Max, Groups: []string{"people"}, Attributes: map[string][]string{"dept": {"hr", "board"}},
		Permissions: []policy.Permission{policy.PermissionImpersonate}, Impersonate: &policy.Who{Group: "sales"}}
	if err := n.PutPerson(t.Context(), maxPerson); err != nil {
		t.Fatal(err)
	}
	const iam, eve = "SET immuta.impersonation_iamid = 'local'", "SET immuta.impersonation_userid = 'eve'"
	conn := n.Login(t, world.Max)
	if err := world.Until(t.Context(), 5*time.Second, func() (bool, error) {
		mustExec(t, conn, "BEGIN; SET LOCAL immuta.impersonation_iamid = 'local'; SET LOCAL immuta.impersonation_userid = 'eve'")
		got, err := query(t, conn, countSales)
		mustExec(t, conn, "ROLLBACK")
		if err == nil && got != rows/2 {
			err = fmt.Errorf("%d rows", got)
		}
		return err == nil, err
	}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		sql  []string
		want int64  // rows of sales
		part string // of the refusal
	}{
		{name: "not at all", want: 0},
		{name: "both in one transaction", sql: []string{"BEGIN", iam, eve, "COMMIT"}, want: rows / 2},
		{name: "both in one message", sql: []string{iam + "; " + eve}, want: rows / 2},
		{name: "one only", sql: []string{eve}, part: "do not belong together"},
		{name: "in two transactions", sql: []string{iam, eve}, part: "do not belong together"},
		{name: "one changed later", sql: []string{iam + "; " + eve, "SET immuta.impersonation_userid = 'hera'"}, part: "do not belong together"},
		{name: "one changed after use in the transaction", sql: []string{"BEGIN", iam, eve, countSales, eve}, part: "do not belong together"},
		{name: "one reset", sql: []string{iam + "; " + eve, "RESET immuta.impersonation_userid"}, part: "do not belong together"},
		{name: "both reset", sql: []string{iam + "; " + eve, "RESET ALL"}, want: 0},
		{name: "rolled back", sql: []string{"BEGIN", iam, eve, "ROLLBACK"}, want: 0},
		{name: "rolled back to a pair", sql: []string{iam + "; " + eve, "BEGIN", "SET immuta.impersonation_userid = 'hera'", "ROLLBACK"}, want: rows / 2},
		{name: "local to a transaction that ended", sql: []string{"BEGIN", "SET LOCAL immuta.impersonation_iamid = 'local'", "SET LOCAL immuta.impersonation_userid = 'eve'", "COMMIT"}, want: 0},
		{name: "whom one may not be", sql: []string{iam + "; SET immuta.impersonation_userid = 'hera'"}, part: "permission denied"},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn := n.Login(t, world.Max)
			for _, sql := range test.sql {
				mustExec(t, conn, sql)
			}
			if test.part == "" {
				wantCount(t, conn, countSales, test.want)
				return
			}
			_, err := query(t, conn, countSales)
			wantError(t, err, "42501", test.part)
		})
	}
	t.Run("ends running statements", func(t *testing.T) {
		conn := n.Login(t, world.Max)
		mustExec(t, conn, "BEGIN; DECLARE c CURSOR FOR SELECT id FROM immuta.staff_pg; FETCH 1 FROM c")
		mustExec(t, conn, iam+"; "+eve)
		_, err := conn.Exec(t.Context(), "FETCH 1 FROM c")
		wantError(t, err, "42501", "access changed")
	})
	t.Run("not by set_config", func(t *testing.T) {
		_, err := conn.Exec(t.Context(), "SELECT set_config('immuta.impersonation_userid', 'eve', false)")
		wantError(t, err, "42501", "only be set by the statement SET")
	})
	t.Run("not by a function's clause", func(t *testing.T) {
		_, err := conn.Exec(t.Context(), "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET immuta.impersonation_userid = 'eve' AS 'SELECT 1'")
		wantError(t, err, "42501", "only be set by the statement SET")
	})
	t.Run("not by ALTER ROLE", func(t *testing.T) {
		_, err := n.admin.Exec(t.Context(), "ALTER ROLE max SET immuta.impersonation_userid = 'eve'")
		wantError(t, err, "42501", "only be set by the statement SET")
	})
}
