package setup

import (
	"testing"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// TestWhatIsTakenAwayIsTold takes each privilege away and gives it back by the
// statement that Check prints.
func TestWhatIsTakenAwayIsTold(t *testing.T) {
	w := newWorld(t, 16, connection.ModeGrantor)
	res := w.register(w.request())
	w.sql("shop", `REVOKE CONNECT ON DATABASE shop FROM PUBLIC; GRANT CONNECT ON DATABASE shop TO `+sqltext.Identifier(account))
	tests := map[string]struct {
		away     string
		what     string
		optional bool
	}{
		"acting as the owner":  {`GRANT portcullis_owner TO ` + sqltext.Identifier(account) + ` WITH SET FALSE`, account + " may not act as portcullis_owner", false},
		"membership":           {`REVOKE portcullis_owner FROM ` + sqltext.Identifier(account), account + " may not act as portcullis_owner", false},
		"entering a database":  {`REVOKE CONNECT ON DATABASE shop FROM portcullis_owner CASCADE`, "portcullis_owner may not pass on CONNECT", true},
		"the account's way in": {`REVOKE CONNECT ON DATABASE shop FROM ` + sqltext.Identifier(account) + `, portcullis_owner CASCADE`, account + " may not connect", true},
		"a schema":             {`REVOKE USAGE ON SCHEMA private FROM portcullis_owner CASCADE`, "portcullis_owner may not pass on USAGE of schema private", true},
		"a table":              {`REVOKE GRANT OPTION FOR INSERT ON private.t FROM portcullis_owner CASCADE`, "portcullis_owner may not pass on the five privileges of 1 of 1 tables in schema private", true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w.sql("shop", tc.away)
			for told := 0; ; told++ {
				report, err := Check(t.Context(), w.dialer, res.Target, nil)
				if err != nil || told > 2 {
					t.Fatalf("%+v, %v", report, err)
				}
				if told == 0 && (len(report.Missing) != 1 || report.Missing[0].What != tc.what || report.Missing[0].Optional != tc.optional || report.Ready() != tc.optional) {
					t.Fatalf("want %q, got %+v", tc.what, report.Missing)
				}
				if len(report.Missing) == 0 {
					return
				}
				for _, m := range report.Missing {
					w.sql("shop", m.Statement)
				}
			}
		})
	}
}
