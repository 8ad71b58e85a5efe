package fdw

import (
	"slices"
)

// Described is what a driver tells of a column of a result.
type Described struct {
	TypeName  string // the source's own name of the type
	Unsigned  bool
	Precision int // digits of an exact number
}

// hope is a column that is selected as it is because the driver hands values
// over exactly if they are of the type that the column here stands for.
type hope struct {
	at     int // in the result
	column *TableColumn
}

// Fits tells whether the columns that are selected as they are have the types
// that was hoped for. If not, the statement is composed anew, indirect.
func (s *Statement) Fits(d Dialect, told []Described) bool {
	for _, h := range s.hopes {
		if h.at >= len(told) || !d.(direct).Fits(h.column, told[h.at]) {
			return false
		}
	}
	return true
}

// Described says whether the driver has to describe the result's columns.
func (s *Statement) Described() bool { return len(s.Checks) > 0 || len(s.hopes) > 0 }

// Check is a column of the result that must be described as the decision's
// dictionary has the column.
type Check struct {
	At     int // in the result
	Column string
	Type   string // of the dictionary
}

// Changed finds the first column that is not what the decision was made for:
// its row filter and masks were made for something else. Lengths, precisions
// and the kind of text are not compared: what does not fit is refused when read.
func (s *Statement) Changed(d Dialect, told []Described) (Check, bool) {
	for _, c := range s.Checks {
		if c.At >= len(told) || !d.Agrees(typeFromName(c.Type), told[c.At]) {
			return c, true
		}
	}
	return Check{}, false
}

// witnesses has every column of the dictionary that the statement mentions
// described: where it is selected as it is, there, else by a witness.
func (c *composer) witnesses() error {
	if c.r.Decision == nil || c.r.Decision.Unmanaged {
		return nil
	}
	types := map[string]string{}
	for _, col := range c.r.Decision.Columns {
		types[col.Name] = col.Type
	}
	for _, name := range c.mentioned() {
		check := Check{Column: name, Type: types[name]}
		if check.At = c.selectedAsIs(name); check.At < 0 {
			witness, err := c.d.Witness(c.dictionary[name], c.r.Table)
			if err != nil {
				return err
			}
			check.At = max(1, len(c.s.Columns)) + len(c.told) // an empty list selects a constant
			c.told = append(c.told, witness)
		}
		c.s.Checks = append(c.s.Checks, check)
	}
	c.s.Told = len(c.told)
	return nil
}

// mentioned are the columns of the dictionary that stand in the statement or
// that the engine filters by, each once.
func (c *composer) mentioned() []string {
	var names []string
	add := func(name string) {
		if c.dictionary[name] != nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, s := range c.s.Columns {
		if !s.forPages {
			add(s.Remote)
		}
	}
	if c.r.Decision.Filter != nil {
		filterColumns(c.r.Decision.Filter, add)
	}
	for _, e := range c.r.Conditions.List {
		walk(e, func(x Expr) {
			if col, ok := x.(*Column); ok {
				if of := c.r.Table.ByAttnum(col.Attnum); of != nil && !c.masked(of.RemoteName) {
					add(of.RemoteName)
				}
			}
		})
	}
	return names
}

func (c *composer) selectedAsIs(name string) int {
	plain, err := c.d.Quote(name)
	if err != nil {
		return -1
	}
	return slices.IndexFunc(c.s.Columns, func(s Selected) bool { return s.Remote == name && s.Select == plain })
}

// textTypes are told apart neither by masks nor by filters.
var textTypes = []string{"text", "varchar", "bpchar", "name", `"char"`}

// agreesIn looks up what a described type becomes. A type that is not listed
// agrees with local types that no listed one becomes, and with text.
func agreesIn(becomes map[string][]string, described, local string) bool {
	if types, listed := becomes[described]; listed {
		return slices.Contains(types, local)
	}
	if slices.Contains(textTypes, local) {
		return true
	}
	for _, types := range becomes {
		if slices.Contains(types, local) {
			return false
		}
	}
	return true
}

// What psqlODBC names; all others it calls unknown.
var postgresBecomes = map[string][]string{
	"int2": {"int2"}, "int4": {"int4"}, "int8": {"int8"}, "float4": {"float4"}, "float8": {"float8"}, "numeric": {"numeric"},
	"text": textTypes, "varchar": textTypes, "char": textTypes, "name": textTypes, "bool": {"bool"}, "bytea": {"bytea"},
	"date": {"date"}, "time": {"time"}, "timestamp without time zone": {"timestamp"}, "timestamp": {"timestamp"}, "timestamptz": {"timestamptz"},
	"uuid": {"uuid"}, "xml": {"xml"}, "inet": {"inet"}, "cidr": {"cidr"}, "macaddr": {"macaddr"}, "oid": {"int8"}, "money": {"text"},
}

// Witness: the source drops the expression when it plans.
func (d postgres) Witness(c *TableColumn, _ *Table) (string, error) {
	col, err := d.reference(c)
	return "CASE WHEN false THEN " + col + " END", err
}

func (postgres) Agrees(local string, d Described) bool {
	return agreesIn(postgresBecomes, d.TypeName, local)
}

var mariadbBecomes = map[string][]string{
	"tinyint": {"int2", "bool"}, "smallint": {"int2"}, "smallint unsigned": {"int4"}, "mediumint": {"int4"}, "year": {"int4"},
	"integer": {"int4"}, "integer unsigned": {"int8"}, "bigint": {"int8"}, "bigint unsigned": {"numeric"}, "decimal": {"numeric"},
	"float": {"float4"}, "double": {"float8"}, "date": {"date"}, "time": {"time"}, "datetime": {"timestamp"}, "timestamp": {"timestamptz"},
	"char": append([]string{"uuid", "inet"}, textTypes...), "varchar": textTypes,
	"tinytext": textTypes, "text": textTypes, "mediumtext": textTypes, "longtext": textTypes,
	"binary": {"bytea"}, "varbinary": {"bytea"}, "tinyblob": {"bytea"}, "blob": {"bytea"}, "mediumblob": {"bytea"}, "longblob": {"bytea"},
	"bit": {"bit"},
}

// Witness: a CASE has the type of its arm, unlike a function of it.
func (d mariadb) Witness(c *TableColumn, _ *Table) (string, error) {
	col, err := d.reference(c)
	return "CASE WHEN false THEN " + col + " END", err
}

func (mariadb) Agrees(local string, d Described) bool {
	name := d.TypeName
	if d.Unsigned && (name == "smallint" || name == "integer" || name == "bigint") {
		name += " unsigned"
	}
	return agreesIn(mariadbBecomes, name, local)
}

// Witness: only a column has a declared type, also one of a sub-select.
func (d sqlite) Witness(c *TableColumn, t *Table) (string, error) {
	col, err := d.reference(c)
	if err != nil {
		return "", err
	}
	relation, err := d.Relation(t)
	return "(SELECT " + col + " FROM " + relation + " LIMIT 0)", err
}

// Agrees compares declared types: what a row really holds is looked at as it is read.
func (sqlite) Agrees(local string, d Described) bool {
	becomes := typeFromName(sqliteType(d.TypeName))
	return becomes == local || slices.Contains(textTypes, becomes) && slices.Contains(textTypes, local)
}
