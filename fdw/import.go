package fdw

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"portcullis.dev/portcullis/internal/sqltext"
)

// ListKind is what IMPORT FOREIGN SCHEMA does with its list of names.
type ListKind int

// Numbered as in pc_import_request.
const (
	ImportAll ListKind = iota
	ImportLimitTo
	ImportExcept
)

// ImportRequest is IMPORT FOREIGN SCHEMA.
type ImportRequest struct {
	Server       string // local name of the foreign server
	RemoteSchema string
	LocalSchema  string
	List         ListKind
	Names        []string // names as the tables will have here; PostgreSQL compares them once more
	Options      map[string]string
}

// ImportedTable is one table as it will be here.
type ImportedTable struct {
	RemoteSchema string
	RemoteName   string
	Name         string
	Columns      []ImportedColumn
	LeftOut      []string // columns that cannot be read, and why
	SQL          string   // CREATE FOREIGN TABLE, "" if the table is left out
	Why          *Error   // it is left out
}

// Warnings say what of the table is left out.
func (t *ImportedTable) Warnings() []string {
	if t.Why != nil {
		return []string{"left out: " + t.Why.Message}
	}
	return t.LeftOut
}

// ImportedColumn is one column of it.
type ImportedColumn struct {
	RemoteName string
	Name       string
	Type       string // PostgreSQL type
	NotNull    bool
}

// remoteColumn is a column as the remote catalog lists it.
type remoteColumn struct {
	table, name string
	localType   string // "" if it cannot be read
	remoteType  string
	notNull     bool
}

var importOptions = map[string]check{
	"import_case":      oneOf("keep", "lower"),
	"import_not_null":  boolean,
	"import_collation": oneOf("default", "C"),
	"import_boolean":   boolean,
}

// buildImport turns the columns of all tables of a schema into statements.
func buildImport(cols []remoteColumn, r ImportRequest, schemaOption string) ([]ImportedTable, error) {
	var tables []ImportedTable
	taken := map[string]string{}
	for start := 0; start < len(cols); {
		end := start
		for end < len(cols) && cols[end].table == cols[start].table {
			end++
		}
		t := ImportedTable{RemoteSchema: schemaOption, RemoteName: cols[start].table, Name: r.localName(cols[start].table)}
		if r.includes(t.Name) {
			if other, twice := taken[t.Name]; twice {
				return nil, &Error{State: "42P07", Message: fmt.Sprintf("the remote tables %q and %q would both be named %q here", other, t.RemoteName, t.Name),
					Hint: "Use import_case 'keep', or LIMIT TO."}
			}
			taken[t.Name] = t.RemoteName
			if why := t.fill(cols[start:end], r); why != nil {
				if err := t.leaveOut(why, r); err != nil {
					return nil, err
				}
			}
			tables = append(tables, t)
		}
		start = end
	}
	return tables, nil
}

func (r ImportRequest) localName(remote string) string {
	if r.Options["import_case"] == "lower" {
		return strings.ToLower(remote)
	}
	return remote
}

func (r ImportRequest) includes(local string) bool {
	if r.List == ImportAll {
		return true
	}
	for _, n := range r.Names {
		if n == local {
			return r.List == ImportLimitTo
		}
	}
	return r.List == ImportExcept
}

// leaveOut notes why a table is left out, which is an error if it was asked for.
func (t *ImportedTable) leaveOut(why *Error, r ImportRequest) error {
	if r.List == ImportLimitTo {
		return why
	}
	t.SQL, t.Why = "", why
	return nil
}

func (t *ImportedTable) fill(cols []remoteColumn, r ImportRequest) *Error {
	if why := unfitName(t.Name); why != "" {
		return byHand(t, "its name %s", why)
	}
	if len(cols) > maxColumns {
		return byHand(t, "it has %d columns, and a table here has %d at most", len(cols), maxColumns)
	}
	taken := map[string]string{}
	for _, c := range cols {
		if c.localType == "" {
			t.LeftOut = append(t.LeftOut, fmt.Sprintf("column %q of remote table %q is left out: type %s cannot be read", printable(c.name), printable(t.RemoteName), c.remoteType))
			continue
		}
		local := r.localName(c.name)
		if why := unfitName(local); why != "" {
			return byHand(t, "the name of its column %q %s", printable(c.name), why)
		}
		if systemColumns[local] {
			return byHand(t, "PostgreSQL keeps the name of its column %q for itself", local)
		}
		if other, twice := taken[local]; twice {
			return &Error{State: "42701", Message: fmt.Sprintf("the remote columns %q and %q of table %q would both be named %q here", other, c.name, t.RemoteName, local),
				Hint: "Use import_case 'keep'."}
		}
		taken[local] = c.name
		t.Columns = append(t.Columns, ImportedColumn{RemoteName: c.name, Name: local, Type: c.localType, NotNull: c.notNull})
	}
	t.SQL = t.create(r)
	return nil
}

// maxColumns is PostgreSQL's MaxHeapAttributeNumber.
const maxColumns = 1600

var systemColumns = map[string]bool{"ctid": true, "xmin": true, "cmin": true, "xmax": true, "cmax": true, "tableoid": true}

// unfitName says why a name cannot be one here; PostgreSQL would cut a longer one.
func unfitName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > 63:
		return "is longer than 63 bytes"
	}
	return ""
}

func byHand(t *ImportedTable, why string, args ...any) *Error {
	return &Error{State: stateNameTooLong, Message: fmt.Sprintf("remote table %q cannot be imported: ", printable(t.RemoteName)) + fmt.Sprintf(why, args...),
		Hint: "Create the foreign table by hand, with table_name and column_name."}
}

func (t *ImportedTable) create(r ImportRequest) string {
	var b strings.Builder
	b.WriteString("CREATE FOREIGN TABLE ")
	if r.LocalSchema != "" {
		b.WriteString(sqltext.Identifier(r.LocalSchema) + ".")
	}
	b.WriteString(sqltext.Identifier(t.Name) + " (")
	for i, c := range t.Columns {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n\t" + sqltext.Identifier(c.Name) + " " + c.Type)
		if c.Name != c.RemoteName {
			b.WriteString(" OPTIONS (column_name " + sqltext.Literal(c.RemoteName) + ")")
		}
		if r.Options["import_collation"] == "C" && isTextType(c.Type) {
			b.WriteString(` COLLATE pg_catalog."C"`)
		}
		if c.NotNull && r.Options["import_not_null"] != "false" && r.Options["import_not_null"] != "off" && r.Options["import_not_null"] != "0" {
			b.WriteString(" NOT NULL")
		}
	}
	b.WriteString("\n) SERVER " + sqltext.Identifier(r.Server) + " OPTIONS (")
	if t.RemoteSchema != "" {
		b.WriteString("schema_name " + sqltext.Literal(t.RemoteSchema) + ", ")
	}
	b.WriteString("table_name " + sqltext.Literal(t.RemoteName) + ");")
	return b.String()
}

func isTextType(t string) bool {
	base := typeFromName(t)
	return base == "text" || base == "varchar" || base == "bpchar"
}

func checkImportOptions(r ImportRequest) error {
	for n, v := range r.Options {
		ok, known := importOptions[n]
		if !known {
			return unknownOption(n, importOptions)
		}
		if why := ok(v); why != "" {
			return badOption('i', n, v, why)
		}
	}
	return nil
}

// finish reports an empty result, telling a missing schema from missing tables.
func finish(ctx context.Context, q Querier, r ImportRequest, tables []ImportedTable, schemasSQL string) ([]ImportedTable, error) {
	if err := r.missing(tables); err != nil {
		return nil, err
	}
	if len(tables) > 0 {
		return tables, onlyLeftOut(tables)
	}
	rows, err := q.QueryStrings(ctx, schemasSQL, nil)
	if err != nil {
		return nil, fmt.Errorf("list remote schemas: %w", err)
	}
	var schemas []string
	known := false
	for _, row := range rows {
		if len(row) > 0 && row[0] != nil {
			schemas = append(schemas, *row[0])
			known = known || *row[0] == r.RemoteSchema
		}
	}
	sort.Strings(schemas)
	hint := "Remote schemas: " + strings.Join(first(schemas, 20), ", ") + "."
	if !known {
		if near := nearest(r.RemoteSchema, schemas); near != "" {
			hint = "Perhaps you meant \"" + near + "\". " + hint
		}
		return nil, &Error{State: stateNoSchemas, Message: "remote schema \"" + printable(r.RemoteSchema) + "\" does not exist or has no tables", Hint: hint}
	}
	if r.List == ImportLimitTo && len(r.Names) > 0 {
		return nil, r.notThere(r.Names[0])
	}
	if r.List == ImportExcept {
		return nil, &Error{State: stateTableNotFound, Message: "EXCEPT leaves nothing to import from remote schema \"" + printable(r.RemoteSchema) + "\"",
			Hint: "Leave out fewer tables."}
	}
	return nil, &Error{State: stateTableNotFound, Message: "nothing to import from remote schema \"" + printable(r.RemoteSchema) + "\"", Hint: hint}
}

// missing refuses a LIMIT TO name that is not there.
func (r ImportRequest) missing(tables []ImportedTable) error {
	if r.List != ImportLimitTo || len(tables) == 0 {
		return nil
	}
	have := map[string]bool{}
	for _, t := range tables {
		have[t.Name] = true
	}
	for _, n := range r.Names {
		if !have[n] {
			return r.notThere(n)
		}
	}
	return nil
}

func (r ImportRequest) notThere(name string) error {
	return &Error{State: stateTableNotFound, Message: "table \"" + printable(name) + "\" is not in remote schema \"" + printable(r.RemoteSchema) + "\"",
		Hint: "Names are compared exactly, after import_case. Quote names with capitals."}
}

// onlyLeftOut is an error where no table is left to import.
func onlyLeftOut(tables []ImportedTable) error {
	for _, t := range tables {
		if t.Why == nil {
			return nil
		}
	}
	return tables[0].Why
}

func first(list []string, n int) []string {
	if len(list) > n {
		return append(append([]string{}, list[:n]...), "…")
	}
	return list
}

// cell reads a cell of a catalog query, "" for NULL or a short row.
func cell(row []*string, i int) string {
	if i < len(row) && row[i] != nil {
		return *row[i]
	}
	return ""
}
