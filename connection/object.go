package connection

import (
	"strings"

	"portcullis.dev/portcullis/internal/sqltext"
)

// ObjectKind is what can be read like a table.
type ObjectKind string

const (
	KindTable        ObjectKind = "table"
	KindPartitioned  ObjectKind = "partitioned table"
	KindView         ObjectKind = "view"
	KindMaterialised ObjectKind = "materialized view"
	KindForeign      ObjectKind = "foreign table"
)

// ObjectRef names a table of an instance. The OID counts: names are for people
// and to make sure that the object is still the one that was meant.
type ObjectRef struct {
	Database string `json:"database,omitempty"`
	OID      uint32 `json:"oid,omitempty"`
	Schema   string `json:"schema,omitempty"`
	Name     string `json:"name,omitempty"`
}

// FullName joins the parts of a name as database.schema.table; a part with a dot
// or a quote is quoted as in SQL.
func FullName(parts ...string) string {
	quoted := make([]string, len(parts))
	for i, p := range parts {
		if strings.ContainsAny(p, `."`) {
			p = sqltext.Identifier(p)
		}
		quoted[i] = p
	}
	return strings.Join(quoted, ".")
}

// Canonical is a name as FullName writes it, of one in which other parts may be
// quoted as in SQL, too. What is no such name stays as it is.
func Canonical(name string) string {
	if !strings.Contains(name, `"`) {
		return name
	}
	var parts []string
	for rest := name; ; {
		part, after, ok := firstPart(rest)
		if !ok {
			return name
		}
		parts = append(parts, part)
		if after == "" {
			return FullName(parts...)
		}
		rest = after[1:]
	}
}

// firstPart reads up to a dot; after begins with it.
func firstPart(name string) (part, after string, ok bool) {
	if !strings.HasPrefix(name, `"`) {
		end := strings.IndexAny(name+".", `."`)
		return name[:end], name[end:], end > 0 && !strings.HasPrefix(name[end:], `"`)
	}
	for i := 1; i < len(name); i++ {
		if name[i] != '"' {
			continue
		}
		if strings.HasPrefix(name[i+1:], `"`) {
			i++
			continue
		}
		return strings.ReplaceAll(name[1:i], `""`, `"`), name[i+1:], i > 1 && (i+1 == len(name) || name[i+1] == '.')
	}
	return "", "", false
}

// Column of a table, in the remote order.
type Column struct {
	Number  int16    `json:"number"`
	Name    string   `json:"name"`
	Type    string   `json:"type"` // as format_type gives it
	Comment string   `json:"comment,omitempty"`
	Labels  []string `json:"labels,omitempty"` // provider=label
}

// Object is a table as crawled.
type Object struct {
	OID     uint32     `json:"oid"`
	Name    string     `json:"name"`
	Kind    ObjectKind `json:"kind"`
	Owner   string     `json:"owner"`
	Columns []Column   `json:"columns"`
	Comment string     `json:"comment,omitempty"`
	Labels  []string   `json:"labels,omitempty"`

	// PartitionOf is the OID of the parent of a partition, else 0. A partition
	// is a table of its own: what its parent grants does not reach it.
	PartitionOf uint32 `json:"partition_of,omitempty"`
	// Parents are the OIDs of all tables that it is a partition or child of:
	// who reads those reads its rows.
	Parents []uint32 `json:"parents,omitempty"`

	// NotEnforceable says why our grants cannot be made here, "" if they can;
	// Fix is the statement that a DBA runs to change that.
	NotEnforceable string `json:"not_enforceable,omitempty"`
	Fix            string `json:"fix,omitempty"`
}

// Schema of a database as crawled. Digest changes whenever anything in it does.
type Schema struct {
	OID     uint32   `json:"oid"`
	Name    string   `json:"name"`
	Owner   string   `json:"owner"`
	Digest  string   `json:"digest"`
	Objects []Object `json:"objects,omitempty"` // nil: unchanged since the digest that was given
}

// Database of an instance as crawled.
type Database struct {
	OID     uint32   `json:"oid"`
	Name    string   `json:"name"`
	Owner   string   `json:"owner"`
	Schemas []Schema `json:"schemas,omitempty"`
	LeftOut LeftOut  `json:"left_out,omitzero"`
	Err     *Error   `json:"error,omitempty"` // it could not be crawled: keep what was last seen
}

// LeftOut are OIDs of what crawls leave out, and which is there all the same.
type LeftOut struct {
	Schemas []uint32 `json:"schemas,omitempty"`
	Tables  []uint32 `json:"tables,omitempty"`
}

// Server is what answered: two spellings of one host have one SystemID.
type Server struct {
	Version  int    `json:"version"` // as server_version_num
	SystemID string `json:"system_id"`
	Replica  bool   `json:"replica,omitempty"`
	Pooler   string `json:"pooler,omitempty"` // "pgbouncer" where one is in between
}
