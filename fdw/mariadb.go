package fdw

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// mariadb is MariaDB (10.4 and later) behind Connector/ODBC. Its text
// comparison depends on collations that fold case, accents and blanks, and it
// converts types freely, so both sides of a comparison are given one type and
// text is compared as bytes.
type mariadb struct{}

func (mariadb) Name() string { return "mariadb" }

func (mariadb) Options() OptionSet {
	return OptionSet{
		Server: map[string]check{
			"driver": anyText, "host": host, "port": number(1, 65535), "database": database,
			"sslmode": oneOf("disable", "require", "verify-full"), "connect_timeout": number(1, 3600),
			"use_remote_estimate": boolean,
		},
		Mapping: commonMapping(), Table: commonTable(), Column: commonColumn(),
		Needed: []string{"host"},
	}
}

func (d mariadb) Connection(server, mapping map[string]string, env Env) (*Connection, error) {
	if err := checked(d, server); err != nil {
		return nil, err
	}
	h, err := address(server)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(h, "localhost") {
		h = "127.0.0.1" // the client library takes localhost for its Unix socket and forgets the port
	}
	secret, err := password(mapping, env)
	if err != nil {
		return nil, err
	}
	c := &Connection{
		Driver: server["driver"],
		Attrs: []Attr{
			{"SERVER", h}, {"PORT", or(server["port"], "3306")}, {"DATABASE", server["database"]},
			{"UID", mapping["username"]}, {"PWD", secret},
			{"CHARSET", "utf8mb4"}, {"TCPIP", "1"}, {"NO_PROMPT", "1"}, {"AUTO_RECONNECT", "0"}, {"FORWARDONLY", "1"},
		},
		Setup: []string{
			// No ANSI_QUOTES: identifiers stand in backquotes. No PAD_CHAR_TO_FULL_LENGTH: CHAR has no trailing blanks.
			"SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
			"SET SESSION time_zone = '+00:00'", "SET SESSION sql_auto_is_null = 0", "SET SESSION sql_select_limit = DEFAULT",
			"SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SET SESSION TRANSACTION READ ONLY",
		},
		Verify: []Verify{
			{"SELECT CONCAT(@@character_set_client, ' ', @@character_set_results)", "utf8mb4 utf8mb4", "the session does not speak utf8mb4"},
			{"SELECT @@time_zone", "+00:00", "the session is not in UTC"},
			{"SELECT @@sql_mode LIKE '%NO_BACKSLASH_ESCAPES%' AND @@sql_mode NOT LIKE '%PAD_CHAR%' AND @@sql_mode NOT LIKE '%ANSI_QUOTES%' AND @@sql_mode NOT LIKE '%HIGH_NOT%'",
				"1", "sql_mode could not be set"},
		},
		ConnectTimeout: seconds(server["connect_timeout"]),
	}
	switch server["sslmode"] {
	case "require":
		c.Attrs = append(c.Attrs, Attr{"FORCETLS", "1"})
	case "verify-full":
		c.Attrs = append(c.Attrs, Attr{"FORCETLS", "1"}, Attr{"SSLVERIFY", "1"})
	}
	c.Host, c.Port = h, portOf(server, 3306)
	if server["sslmode"] != "verify-full" { // which needs the name: a peer at another address has no certificate of it
		c.HoldTo = func(address netip.Addr) []Attr {
			held := slices.Clone(c.Attrs)
			held[0].Value = address.String()
			return held
		}
	}
	return c, nil
}

func (mariadb) Quote(name string) (string, error) {
	if strings.HasSuffix(name, " ") {
		return "", &Error{State: stateInvalidName, Message: "the remote name \"" + printable(name) + "\" ends in a blank, which MariaDB does not allow"}
	}
	return quoteWith(name, "`", 256)
}

func (d mariadb) reference(c *TableColumn) (string, error) { return d.Quote(c.RemoteName) }

func (d mariadb) Relation(t *Table) (string, error) { return relationName(d, t) }

func (d mariadb) Transfer(c *TableColumn) (Transfer, error) {
	col, err := d.reference(c)
	if err != nil {
		return Transfer{}, err
	}
	switch baseOID(c.BaseType) {
	case oidInt2, oidInt4, oidInt8, oidOid:
		// Package odbc refuses an unsigned BIGINT here, which would wrap without a word.
		return Transfer{Select: col, Kind: KindInt64}, nil
	case oidFloat4, oidFloat8:
		// FLOAT as text has six digits; widened to double it is exact.
		return Transfer{Select: "CAST(" + col + " AS DOUBLE)", Kind: KindFloat64}, nil
	case oidBool:
		// As text: the driver leaves the indicator of a SQL_C_BIT that is not NULL unwritten.
		return Transfer{Select: "CASE WHEN " + col + " <> 0 THEN 't' WHEN " + col + " = 0 THEN 'f' END", Kind: KindText, MaxLen: 1}, nil
	case oidBytea:
		return Transfer{Select: col, Kind: KindBytes}, nil
	case oidTimestamptz:
		return Transfer{Select: "CONCAT(CAST(" + col + " AS CHAR), '+00')", Kind: KindText, MaxLen: 40}, nil
	case oidNumeric:
		// The driver cuts DECIMAL at 66 characters; as text of the server it is whole.
		return Transfer{Select: "CAST(" + col + " AS CHAR)", Kind: KindText, MaxLen: 72}, nil
	case oidDate, oidTimestamp, oidTime, oidInterval:
		// '0000-00-00' arrives as such and PostgreSQL refuses it.
		return Transfer{Select: "CAST(" + col + " AS CHAR)", Kind: KindText, MaxLen: 40}, nil
	}
	if c.BaseType == "bit" && c.Typmod > 0 {
		return Transfer{Select: fmt.Sprintf("LPAD(BIN(%s + 0), %d, '0')", col, c.Typmod), Kind: KindText, MaxLen: 64}, nil
	}
	return Transfer{Select: "CONVERT(" + col + " USING utf8mb4)", Kind: KindText, MaxLen: textLength(c)}, nil
}

// The driver hands these over as CAST or CONVERT would make them (compared for
// all of them in difftest): dates field by field, also those that are none; text in
// the character set of results, utf8mb4. A DECIMAL has at most 66 characters, where
// the driver would cut it. Left to CAST: FLOAT and DOUBLE, which versions of the driver
// from 3.2 on read as text, with the column's decimals.
var mariadbDirect = map[string][]string{
	"numeric": {"decimal"}, "date": {"date"}, "timestamp": {"datetime"},
	"varchar": mariadbTexts, "text": mariadbTexts,
}

var mariadbTexts = []string{"char", "varchar", "tinytext", "text", "mediumtext", "longtext"}

// maxDirectDigits and a sign, a point and a zero before it are fewer than 66 characters.
const maxDirectDigits = 60

func (d mariadb) Direct(c *TableColumn) (Transfer, bool) {
	if mariadbDirect[c.BaseType] == nil || neverDirect(c.TypeName) {
		return Transfer{}, false
	}
	t, err := d.Transfer(c)
	if err == nil {
		t.Select, err = d.reference(c)
	}
	return t, err == nil
}

// neverDirect: an unsigned BIGINT as it is imported, or more digits than the driver hands over.
func neverDirect(printed string) bool {
	var digits int
	_, err := fmt.Sscanf(printed, "numeric(%d", &digits)
	return err == nil && (digits > maxDirectDigits || printed == "numeric(20,0)")
}

func (mariadb) Fits(c *TableColumn, d Described) bool {
	return slices.Contains(mariadbDirect[c.BaseType], d.TypeName) && d.Precision <= maxDirectDigits
}

// Readable: DATE and DATETIME hold 0000-00-00, days of the month 0 and, where
// ALLOW_INVALID_DATES was set, 31 February ("DATE", "SQL_MODE"), for which LAST_DAY is
// NULL or an earlier day; TIME reaches from -838 to 838 hours ("TIME"). IS NULL
// would find 0000-00-00, too.
func (d mariadb) Readable(c *TableColumn) (string, error) {
	col, err := d.reference(c)
	if err != nil {
		return "", err
	}
	switch baseOID(c.BaseType) {
	case oidDate, oidTimestamp, oidTimestamptz:
		return "CASE WHEN " + col + " <=> NULL THEN TRUE ELSE COALESCE(YEAR(" + col + ") > 0 AND MONTH(" + col + ") > 0 AND DAYOFMONTH(" +
			col + ") BETWEEN 1 AND DAYOFMONTH(LAST_DAY(" + col + ")), FALSE) END", nil
	case oidTime:
		return "COALESCE(" + col + " BETWEEN CAST('00:00:00' AS TIME) AND CAST('24:00:00' AS TIME), TRUE)", nil
	}
	return "", nil
}

func (d mariadb) Exact(e Expr, t *Table, f *Facts) (Exactness, string) { return exactOf(d, e, t, f) }

func (d mariadb) Print(e Expr, t *Table, f *Facts, w *SQLWriter) error { return printTo(d, e, t, f, w) }

// Explain adds a hint to what package odbc says of unsigned columns.
func (mariadb) Explain(message string) *Error {
	if strings.Contains(message, "is an unsigned 64-bit integer") {
		return &Error{State: stateOutOfRange, Message: "an unsigned BIGINT of the remote table does not fit the column's integer type",
			Hint: "Declare the column as numeric(20), as IMPORT FOREIGN SCHEMA does."}
	}
	return nil
}

func (d mariadb) column(c *TableColumn, cl class) (string, string, error) {
	col, err := d.reference(c)
	if err != nil {
		return "", "", err
	}
	switch cl {
	case classInt:
		return col, "", nil
	case classBool:
		return "(" + col + " <> 0)", "", nil
	case classText, classEnum:
		// Binary strings compare byte by byte, trailing blanks included
		// (Knowledge Base, "Binary", "BINARY Operator"); bytes of utf8mb4 order
		// as "C" does here.
		return "CAST(CONVERT(" + col + " USING utf8mb4) AS BINARY)", "", nil
	case classBpchar:
		return "CAST(TRIM(TRAILING ' ' FROM CONVERT(" + col + " USING utf8mb4)) AS BINARY)", "", nil
	case classBytes:
		return "CAST(" + col + " AS BINARY)", "", nil
	case classTimestamptz:
		// TIMESTAMP is read in the session's zone, which is UTC; a cast keeps
		// values outside 1970 to 2038 from being converted to it.
		return "CAST(" + col + " AS DATETIME(6))", "", nil
	}
	return col, "", nil
}

func (d mariadb) bound(typ uint32, cl class, text *string) (binding, string) {
	switch cl {
	case classInt:
		// Both integers: compared as integers, unsigned ones included ("Type Conversion").
		return binding{"CAST(", " AS SIGNED)", BindInt64, encodeInt}, ""
	case classNumeric:
		return decimalBinding(text)
	case classFloat:
		code := encodeFloat8
		if typ == oidFloat4 {
			code = encodeFloat4
		}
		return binding{"CAST(", " AS DOUBLE)", BindFloat64, code}, ""
	case classBool:
		return binding{"(", " <> 0)", BindInt64, encodeBool}, ""
	case classText, classEnum, classBpchar, classBytes:
		return bytesBinding(cl, text)
	case classDate:
		return binding{"CAST(", " AS DATE)", BindText, encodeDate}, ""
	case classTimestamp:
		return binding{"CAST(", " AS DATETIME(6))", BindText, encodeTimestamp}, ""
	case classTimestamptz:
		return binding{"CAST(", " AS DATETIME(6))", BindText, encodeUTC}, ""
	case classTime:
		return binding{"CAST(", " AS TIME(6))", BindText, encodeTime}, ""
	}
	return binding{}, "values of type " + cl.String() + " are compared here"
}

// longestConstant, in bytes: a server hangs up on a statement beyond its
// max_allowed_packet, 16 MB by default and often 1 or 4 ("max_allowed_packet").
const longestConstant = 256 << 10

func bytesBinding(cl class, text *string) (binding, string) {
	if text != nil && len(*text) > longestConstant {
		return binding{}, "a constant of more than 256 kB is compared here"
	}
	switch cl {
	case classBpchar:
		return binding{"CAST(", " AS BINARY)", BindText, encodeTrimmed}, ""
	case classBytes:
		return binding{"CAST(", " AS BINARY)", BindBytes, encodeBytea}, ""
	}
	return binding{"CAST(", " AS BINARY)", BindText, encodeText}, ""
}

// decimalBinding: DECIMAL holds 65 digits, 38 of them after the point
// ("DECIMAL"); a parameter, whose digits are not known yet, gets 35 and 30.
func decimalBinding(text *string) (binding, string) {
	whole, fraction := 35, 30
	if text != nil {
		w, f, ok := decimalShape(*text)
		if !ok || w+f > 65 || f > 38 {
			return binding{}, "the constant does not fit DECIMAL(65, 38)"
		}
		whole, fraction = max(w, 1), f
		if whole+fraction > 65 {
			whole = 65 - fraction
		}
	}
	cast := fmt.Sprintf(" AS DECIMAL(%d,%d))", whole+fraction, fraction)
	return binding{"CAST(", cast, BindText, encodeDecimal(whole, fraction)}, ""
}

func (mariadb) compare(cl class, ordered bool) string {
	switch cl {
	case classInt, classNumeric, classFloat, classBool, classText, classBpchar, classBytes, classDate, classTimestamp,
		classTimestamptz, classTime:
		return ""
	case classEnum:
		if ordered {
			return "the order of enum labels may be another one at the source"
		}
		return ""
	}
	return "MariaDB compares " + cl.String() + " in another way"
}

// wider: under the column's own collation, which calls equal what is
// identical. A constant that the column's character set may lack would be an
// error 1267, so only ASCII is sent so.
func (d mariadb) wider(c *TableColumn, cl class, ascii bool) (string, string) {
	if cl != classText || !ascii {
		return "", ""
	}
	col, err := d.reference(c)
	if err != nil {
		return "", ""
	}
	return col, ""
}

// wideBound: a bare value takes the collation of the column.
func (mariadb) wideBound(b binding) binding { return binding{bind: b.bind, code: b.code} }

// distinct: <=> is equality that knows NULL ("NULL-safe equal").
func (mariadb) distinct(left, right func() error, w *SQLWriter) error {
	w.Raw("(NOT (")
	if err := left(); err != nil {
		return err
	}
	w.Raw(" <=> ")
	if err := right(); err != nil {
		return err
	}
	w.Raw("))")
	return nil
}

// null: IS NULL also finds '0000-00-00' in DATE and DATETIME columns declared
// NOT NULL ("IS NULL"); <=> does not.
func (mariadb) null(sql string, cl class, not bool) string {
	test := "(" + sql + " IS NULL)"
	if cl == classDate || cl == classTimestamp || cl == classTimestamptz {
		test = "(" + sql + " <=> NULL)"
	}
	if not {
		return "(NOT " + test + ")"
	}
	return test
}

func (mariadb) truth(sql string) string { return "(" + sql + ")" }

// like: under a binary collation LIKE compares characters one by one and
// trailing blanks count ("LIKE"). The escape character is stated, since its
// default depends on sql_mode.
func (mariadb) like(p *printer, value Expr, cl class, pattern *string, _ Expr, not bool) error {
	if pattern == nil {
		return decline("LIKE with a pattern that is not constant is computed here")
	}
	rewritten, ok := likeWithEscape(*pattern, "|")
	c := p.columnOf(value)
	if !ok || c == nil {
		return decline("this form of LIKE is computed here")
	}
	if err := p.usable(c); err != nil {
		return err
	}
	if classOf(baseOID(c.BaseType)) != classText {
		return decline("LIKE on %s is computed here", c.TypeName)
	}
	col, err := p.r.reference(c)
	if err != nil {
		return err
	}
	op := map[bool]string{false: " LIKE ", true: " NOT LIKE "}[not]
	p.w.Raw("(CONVERT(", col, " USING utf8mb4) COLLATE utf8mb4_nopad_bin", op)
	p.w.Bind(Arg{Param: -1, Type: oidText, text: &rewritten, bind: BindText, code: encodeText})
	p.w.Raw(" ESCAPE '|')")
	return nil
}

func (mariadb) anyOf(*printer, *ScalarArray, class) (bool, error) { return false, nil }

// call: integers in 64 bits, where neither side can overflow. Operands are
// signed, else the difference of unsigned columns would fail below zero.
func (mariadb) call(p *printer, f Fact, args []Expr, cl class) error {
	return p.safeArithmetic(f, args, cl, "CAST(", " AS SIGNED)")
}
