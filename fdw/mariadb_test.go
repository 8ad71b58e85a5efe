package fdw

import "testing"

// TestColumnsThatAreNeverDirect: a statement that had to be sent again would
// have its whole result read twice.
func TestColumnsThatAreNeverDirect(t *testing.T) {
	for printed, want := range map[string]bool{"numeric": true, "numeric(12,2)": true, "numeric(60,30)": true, "numeric(61,0)": false, "numeric(65,30)": false,
		"numeric(20,0)": false, "numeric(20,2)": true} {
		if _, got := (mariadb{}).Direct(&TableColumn{RemoteName: "c", TypeName: printed, BaseType: "numeric", Typmod: -1}); got != want {
			t.Errorf("%s is direct: %t", printed, got)
		}
	}
}
