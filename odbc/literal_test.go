package odbc

import "testing"

func TestWithLiterals(t *testing.T) {
	one := []Param{{Type: ParamText, Text: "it's ?"}}
	cases := []struct{ sql, want string }{
		{"SELECT ?", "SELECT 'it''s ?'"},
		{"SELECT '?', \"a?\", [?], `?`, ? -- ?", "SELECT '?', \"a?\", [?], `?`, 'it''s ?' -- ?"},
		{"SELECT 'a''?' /* ? */, ?", "SELECT 'a''?' /* ? */, 'it''s ?'"},
		{"SELECT 1 - ?", "SELECT 1 - 'it''s ?'"},
	}
	for _, c := range cases {
		if got, err := withLiterals(c.sql, one); err != nil || got != c.want {
			t.Errorf("%s gave %s, %v; want %s", c.sql, got, err, c.want)
		}
	}
	for _, sql := range []string{"SELECT 1", "SELECT ?, ?", "SELECT '?'"} {
		if got, err := withLiterals(sql, one); err == nil {
			t.Errorf("%s with one parameter gave %s", sql, got)
		}
	}
}
