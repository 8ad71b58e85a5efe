package fdw

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// postgres is PostgreSQL behind psqlODBC. Both sides run the same code for
// built-in types, so what is immutable and built in computes the same there;
// what remains are the collation, settings and the driver.
type postgres struct{}

func (postgres) Name() string { return "postgres" }

func (postgres) Options() OptionSet {
	return OptionSet{
		Server: map[string]check{
			"driver": anyText, "host": host, "port": number(1, 65535), "database": database,
			"sslmode":         oneOf("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
			"connect_timeout": number(1, 3600), "fetch_size": number(1, 100000), "application_name": applicationName,
			"use_remote_estimate": boolean,
		},
		Mapping: commonMapping(), Table: commonTable(), Column: commonColumn(),
		Needed: []string{"host", "database"},
	}
}

func applicationName(v string) string {
	if len(v) > 63 || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' || r == '\\' || r == '\'' || r == '?' }) {
		return "at most 63 printable ASCII characters other than \\ ' and ?"
	}
	return ""
}

func (d postgres) Connection(server, mapping map[string]string, env Env) (*Connection, error) {
	if err := checked(d, server); err != nil {
		return nil, err
	}
	h, err := address(server)
	if err != nil {
		return nil, err
	}
	secret, err := password(mapping, env)
	if err != nil {
		return nil, err
	}
	// libpq would look for one in the files of the operating system's user,
	// and the source's author would act with that user's rights.
	if mapping["username"] == "" || secret == "" {
		return nil, &Error{State: stateMissingOption, Message: "the user mapping has no username or no password",
			Hint: "CREATE USER MAPPING FOR role SERVER server OPTIONS (username '...', password '...'), or ALTER the one there is."}
	}
	c := &Connection{
		Driver: server["driver"],
		Attrs: []Attr{
			{"Servername", h},
			{"Port", or(server["port"], "5432")},
			{"Database", or(server["database"], "postgres")},
			{"UID", mapping["username"]},
			{"PWD", secret},
			{"SSLmode", or(server["sslmode"], "prefer")},
			// A cursor in place of the whole result in memory: 12 MB for a
			// million rows in place of 283.
			{"UseDeclareFetch", "1"}, {"Fetch", or(server["fetch_size"], "3000")},
			{"UseServerSidePrepare", "1"},
			// Values as they are: no CR LF, no -1 for true, bytea as bytes, text as long as it is.
			{"LFConversion", "0"}, {"TrueIsMinus1", "0"}, {"BoolsAsChar", "0"}, {"ByteaAsLongVarBinary", "1"},
			{"MaxVarcharSize", "255"}, {"MaxLongVarcharSize", "8190"}, {"TextAsLongVarchar", "1"}, {"UnknownsAsLongVarchar", "1"},
			{"UnknownSizes", "0"}, {"RowVersioning", "0"}, {"ShowSystemTables", "0"}, {"ReadOnly", "0"},
		},
		Setup: []string{
			"SET search_path = pg_catalog",
			"SET TimeZone = 'UTC'", "SET DateStyle = 'ISO'", "SET IntervalStyle = 'postgres'",
			"SET extra_float_digits = 3", "SET bytea_output = 'hex'", "SET xmloption = 'content'", "SET lc_monetary = 'C'",
			"SET standard_conforming_strings = on", "SET transform_null_equals = off",
			// From 14 on, where the system can: a statement whose client is gone, and could
			// not cancel it any more, ends by itself.
			"SELECT CASE WHEN version() LIKE '%linux%' AND current_setting('client_connection_check_interval', true) IS NOT NULL " +
				"THEN set_config('client_connection_check_interval', '1s', false) END",
			// A cursor would be planned for its first tenth.
			"SET cursor_tuple_fraction = 1",
			"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
			"SET application_name = '" + or(server["application_name"], "portcullis") + "'",
		},
		Verify: []Verify{
			{"SELECT pg_catalog.current_setting('server_encoding')", "UTF8",
				"the remote database is not encoded in UTF8, so text would not compare as it does here"},
			{"SELECT CASE WHEN pg_catalog.length(pg_catalog.current_setting('server_version_num')) >= 6 THEN 'ok' ELSE 'old' END", "ok",
				"the remote PostgreSQL is older than version 10"},
		},
	}
	c.ConnectTimeout = seconds(server["connect_timeout"])
	c.Host, c.Port = h, portOf(server, 5432)
	// The name stays what a certificate is checked against.
	c.HoldTo = func(address netip.Addr) []Attr {
		return append(slices.Clone(c.Attrs), Attr{"pqopt", "hostaddr=" + address.String()})
	}
	return c, nil
}

func or(v, otherwise string) string {
	if v == "" {
		return otherwise
	}
	return v
}

func seconds(v string) time.Duration {
	d, err := time.ParseDuration(v + "s")
	if err != nil {
		return 0
	}
	return d
}

func (postgres) Quote(name string) (string, error) { return quoteWith(name, `"`, 0) }

func (d postgres) reference(c *TableColumn) (string, error) { return d.Quote(c.RemoteName) }

func (d postgres) Relation(t *Table) (string, error) {
	if t.RemoteSchema == "" {
		// search_path is pg_catalog in our sessions, so a bare name would not be found.
		t = &Table{RemoteSchema: "public", RemoteName: t.RemoteName}
	}
	return relationName(d, t)
}

// Transfer: psqlODBC mangles dates and times beyond the years 1 to 9999,
// infinity, time zones and the case of uuids, and cuts numerics at 60 digits;
// text as the server prints it is exact for every type.
func (d postgres) Transfer(c *TableColumn) (Transfer, error) {
	col, err := d.reference(c)
	if err != nil {
		return Transfer{}, err
	}
	switch baseOID(c.BaseType) {
	case oidInt2, oidInt4, oidInt8:
		return Transfer{Select: col, Kind: KindInt64}, nil
	case oidOid:
		return Transfer{Select: "CAST(" + col + " AS pg_catalog.int8)", Kind: KindInt64}, nil
	case oidFloat4:
		return Transfer{Select: col, Kind: KindFloat64}, nil
	case oidFloat8:
		return Transfer{Select: "CAST(" + col + " AS pg_catalog.float8)", Kind: KindFloat64}, nil
	case oidBool:
		return Transfer{Select: col, Kind: KindBool}, nil
	case oidBytea:
		return Transfer{Select: col, Kind: KindBytes}, nil
	case oidTimestamptz:
		// Same type: no work. A timestamp without zone is taken as UTC, here and in conditions.
		return Transfer{Select: "CAST(CAST(" + col + " AS pg_catalog.timestamptz) AS pg_catalog.text)", Kind: KindText, MaxLen: 40}, nil
	}
	return Transfer{Select: "CAST(" + col + " AS pg_catalog.text)", Kind: KindText, MaxLen: textLength(c)}, nil
}

// textLength bounds the text of a value in bytes, 0 where it is open.
func textLength(c *TableColumn) int64 {
	switch baseOID(c.BaseType) {
	case oidDate, oidTime, oidTimetz, oidTimestamp, oidTimestamptz, oidUUID:
		return 40
	case oidVarchar, oidBpchar:
		if c.Typmod > 4 {
			return int64(c.Typmod-4) * 4
		}
	case oidNumeric:
		if c.Typmod > 4 {
			return int64((c.Typmod-4)>>16&0xffff) + 4
		}
	case oidName:
		return 63
	}
	return 0
}

func (d postgres) Exact(e Expr, t *Table, f *Facts) (Exactness, string) { return exactOf(d, e, t, f) }

func (d postgres) Print(e Expr, t *Table, f *Facts, w *SQLWriter) error {
	return printTo(d, e, t, f, w)
}

func (postgres) Explain(string) *Error { return nil }

// column: the bare column where the types are equal by declaration. A cast to
// the type that a column has already is no work and keeps its index.
func (d postgres) column(c *TableColumn, cl class) (string, string, error) {
	col, err := d.reference(c)
	if err != nil {
		return "", "", err
	}
	switch cl {
	case classText, classEnum:
		// "C" compares the bytes of UTF-8 by memcmp (manual, "Collation Support").
		return "CAST(" + col + ` AS pg_catalog.text) COLLATE pg_catalog."C"`, "", nil
	case classBpchar:
		return "CAST(" + col + ` AS pg_catalog.bpchar) COLLATE pg_catalog."C"`, "", nil
	case classFloat:
		if baseOID(c.BaseType) == oidFloat8 {
			return "CAST(" + col + " AS pg_catalog.float8)", "", nil
		}
	}
	return col, "", nil
}

// bound: the text of the value, cast on the server by the type's own input
// function. Its output and input functions round-trip (extra_float_digits 3).
func (postgres) bound(typ uint32, cl class, _ *string) (binding, string) {
	name := builtinName(typ)
	if cl == classEnum {
		name = "pg_catalog.text"
	}
	if name == "" {
		return binding{}, "a value of this type is computed here"
	}
	return binding{"CAST(", " AS " + name + ")", BindText, encodeText}, ""
}

// compare: the same operators on the same types (manual, "Comparison
// Functions and Operators"). Enums may list their labels in another order there.
func (postgres) compare(cl class, ordered bool) string {
	if cl == classEnum && ordered {
		return "the order of enum labels may be another one at the source"
	}
	return ""
}

// wider: equality under the column's own collation. Identical strings are
// equal under every collation, and the column's index can be used.
func (d postgres) wider(c *TableColumn, cl class, _ bool) (string, string) {
	col, err := d.reference(c)
	switch {
	case err != nil:
	case cl == classText:
		return "CAST(" + col + " AS pg_catalog.text)", ""
	case cl == classBpchar:
		return "CAST(" + col + " AS pg_catalog.bpchar)", ""
	}
	return "", ""
}

func (postgres) wideBound(b binding) binding { return b }

func (postgres) distinct(left, right func() error, w *SQLWriter) error {
	w.Raw("(")
	if err := left(); err != nil {
		return err
	}
	w.Raw(" IS DISTINCT FROM ")
	if err := right(); err != nil {
		return err
	}
	w.Raw(")")
	return nil
}

func (postgres) null(sql string, _ class, not bool) string {
	if not {
		return "(" + sql + " IS NOT NULL)"
	}
	return "(" + sql + " IS NULL)"
}

func (postgres) truth(sql string) string { return sql }

// like: the same code matches characters of UTF-8 on both sides, under every
// deterministic collation (manual, "LIKE").
func (postgres) like(p *printer, value Expr, cl class, constant *string, pattern Expr, not bool) error {
	if constant == nil {
		p.fallible() // a pattern that ends in its escape character
	} else if _, ok := parseLike(*constant); !ok {
		p.fallible()
	}
	p.w.Raw("(")
	if err := p.scalar(value, cl); err != nil {
		return err
	}
	p.w.Raw(map[bool]string{false: " LIKE ", true: " NOT LIKE "}[not])
	if err := p.scalar(pattern, cl); err != nil {
		return err
	}
	p.w.Raw(")")
	return nil
}

// anyOf sends the array as one value.
func (postgres) anyOf(p *printer, e *ScalarArray, cl class) (bool, error) {
	array := e.Array
	for {
		r, ok := array.(*Relabel)
		if !ok {
			break
		}
		array = r.Arg
	}
	element := elementOf(typeOf(array))
	if classOf(element) == classNone {
		element = e.Operator.Right
	}
	name := builtinName(element)
	if cl == classEnum {
		name = "pg_catalog.text"
	}
	if name == "" || cl != classEnum && classOf(element) != cl {
		return false, decline("the list of values is computed here")
	}
	arg := Arg{Type: typeOf(array), bind: BindText, code: encodeText}
	switch a := array.(type) {
	case *Const:
		arg.Param = -1
		if !a.Null {
			arg.text = &a.Text
		}
	case *Param:
		arg.Param = a.Index
	default:
		return false, decline("the list of values is computed here")
	}
	op, side := " = ANY (", "CAST("
	if !e.Any {
		op = " <> ALL ("
	}
	p.w.Raw("(")
	if c := p.columnOf(e.Value); c != nil && e.Any {
		if before, after := p.r.wider(c, cl, false); before != "" {
			p.w.Raw(before, op, side)
			p.w.Bind(arg)
			p.w.Raw(" AS ", name, "[]))", after, " AND ")
		}
	}
	if err := p.scalar(e.Value, cl); err != nil {
		return false, err
	}
	p.w.Raw(op, side)
	p.w.Bind(arg)
	p.w.Raw(" AS ", name, "[])))")
	return true, nil
}

// arithmetic and functions that are immutable and depend on nothing but their
// arguments; they fail there where they fail here.
var (
	postgresInfix = map[string]bool{"+": true, "-": true, "*": true, "/": true, "%": true}
	postgresCalls = map[string]Exactness{"length": Total, "char_length": Total, "character_length": Total, "octet_length": Total,
		"floor": Total, "ceil": Total, "ceiling": Total, "sign": Total, "text": Total,
		"abs": Fallible, "substring": Fallible, "substr": Fallible, "date_trunc": Fallible, "mod": Fallible,
		"numeric": Fallible, "float8": Fallible, "timestamp": Fallible, "int4": Fallible, "int8": Fallible}
)

func (d postgres) call(p *printer, f Fact, args []Expr, cl class) error {
	_, _, fits := p.opRange(&Op{Operator: f, Args: args})
	if !fits && postgresCalls[f.Name] != Total && !(len(args) == 1 && widens(f.Left, f.Result)) {
		p.fallible()
	}
	switch {
	case postgresInfix[f.Name] && len(args) == 2 && arithmetic(f.Left, f.Right):
		return p.typed("("+"", " "+f.Name+" ", ")", args, f.Left, f.Right)
	case f.Name == "-" && len(args) == 1 && number1(f.Right):
		return p.typed("(- ", "", ")", args, f.Right)
	case postgresCalls[f.Name] != No:
		var types []uint32
		for _, a := range args {
			types = append(types, typeOf(a))
		}
		return p.typed("pg_catalog."+f.Name+"(", ", ", ")", args, types...)
	}
	return decline("%s is computed here", f.Name)
}

func number1(t uint32) bool {
	c := classOf(t)
	return c == classInt || c == classNumeric || c == classFloat
}

// arithmetic reports pairs of types whose operators are immutable: numbers, dates with days,
// timestamps with intervals.
func arithmetic(l, r uint32) bool {
	a, b := classOf(l), classOf(r)
	switch {
	case number1(l) && number1(r):
		return true
	case a == classDate && (b == classInt || b == classDate || b == classInterval):
		return true
	case a == classTimestamp && (b == classInterval || b == classTimestamp), a == classInterval && b == classInterval:
		return true
	}
	return false
}

// typed prints arguments, each in the class of its declared type.
func (p *printer) typed(open, sep, end string, args []Expr, types ...uint32) error {
	p.w.Raw(open)
	for i, a := range args {
		if i > 0 {
			p.w.Raw(sep)
		}
		cl := classNone
		if i < len(types) {
			cl = classOf(types[i])
		}
		if cl == classNone {
			return decline("an argument of this type is computed here")
		}
		if err := p.scalar(a, cl); err != nil {
			return err
		}
	}
	p.w.Raw(end)
	return nil
}
