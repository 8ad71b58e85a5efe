package difftest

import "testing"

// TestPostgresLooksForItsClient: a session that ends has no time to wait until
// its cancel has arrived.
func TestPostgresLooksForItsClient(t *testing.T) {
	s := open(t, "postgres")
	rows, err := s.conn.QueryStrings(t.Context(), "SHOW client_connection_check_interval", nil)
	if err != nil || len(rows) != 1 || rows[0][0] == nil || *rows[0][0] != "1s" {
		t.Errorf("%v, %v", rows, err)
	}
}
