package sqltext

import (
	"testing"

	"portcullis.dev/portcullis/internal/testenv"
)

// TestPostgreSQLReadsBackWhatWasQuoted asks a server, under both settings that change how text is read.
func TestPostgreSQLReadsBackWhatWasQuoted(t *testing.T) {
	pg := testenv.StartServer(t, testenv.ServerOptions{})
	conn, err := pg.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for _, setting := range []string{"on", "off"} {
		if _, err := conn.Exec(t.Context(), "SET standard_conforming_strings = "+setting); err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"plain", "it's", `a"b`, `back\slash`, `\'; DROP TABLE x; --`, `'`, `\`, `\\`, "$tag$", "line\nbreak", "ä𝄞", "E'x'"} {
			rows, err := conn.Query(t.Context(), "SELECT "+Literal(s)+"::text AS "+Identifier(s))
			if err != nil {
				t.Fatalf("%q: %v", s, err)
			}
			var name, got string
			for rows.Next() {
				name = rows.FieldDescriptions()[0].Name
				if err := rows.Scan(&got); err != nil {
					t.Fatal(err)
				}
			}
			if rows.Err() != nil || name != s || got != s {
				t.Errorf("standard_conforming_strings %s: %q comes back as %q, named %q, %v", setting, s, got, name, rows.Err())
			}
		}
	}
}
