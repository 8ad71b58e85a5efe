package odbc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"portcullis.dev/portcullis/odbc"
)

// No driver leaves a log of its own behind, whatever ends its connections.
func TestNoLogsOfDrivers(t *testing.T) {
	mine := fmt.Sprintf("/tmp/*odbc*[^0-9]%d.log", os.Getpid())
	earlier, _ := filepath.Glob(mine) // of a process that had this number before
	for _, name := range earlier {
		_ = os.Remove(name)
	}
	for _, s := range sources() {
		for range 2 {
			c, err := odbc.Connect(t.Context(), s.spec)
			if err != nil {
				t.Fatal(err)
			}
			many(t, s, c, 10)
			c.Close()
		}
	}
	left, err := filepath.Glob(mine)
	if err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
}
