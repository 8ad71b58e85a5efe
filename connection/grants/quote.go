package grants

import "portcullis.dev/portcullis/internal/sqltext"

func quoteTable(schema, name string) string {
	return sqltext.Identifier(schema) + "." + sqltext.Identifier(name)
}
