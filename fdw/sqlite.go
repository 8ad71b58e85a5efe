package fdw

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sqlite is SQLite 3 behind sqliteodbc. Any column may hold any type of value,
// so what is fetched is checked value by value, and what is compared is what
// would be fetched.
type sqlite struct{}

func (sqlite) Name() string { return "sqlite" }

func (sqlite) Options() OptionSet {
	return OptionSet{
		Server: map[string]check{
			"driver": anyText, "database": plain, "busy_timeout": number(0, 600000),
			"use_remote_estimate": boolean,
		},
		Mapping: commonMapping(), Table: commonTable(), Column: commonColumn(),
	}
}

func (d sqlite) Connection(server, _ map[string]string, env Env) (*Connection, error) {
	if err := checked(d, server); err != nil {
		return nil, err
	}
	path, err := fileBelow(env.FileFolder, server["database"])
	if err != nil {
		return nil, err
	}
	return &Connection{
		Driver:     server["driver"],
		AutoCommit: true,
		Attrs: []Attr{
			{"Database", path},
			// Row by row in place of the whole result in memory: 6 MB for a million rows in place of 273.
			{"StepAPI", "1"}, {"NoCreat", "1"}, {"FKSupport", "0"}, {"JDConv", "0"}, {"BigInt", "1"},
			{"Timeout", or(server["busy_timeout"], "10000")},
		},
		Setup: []string{
			"PRAGMA query_only = ON", "PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON",
			"PRAGMA case_sensitive_like = OFF", "PRAGMA reverse_unordered_selects = OFF",
		},
		Verify: []Verify{
			{"PRAGMA encoding", "UTF-8", "the database file is encoded in UTF-16, so text would not order as it does here"},
			{"PRAGMA query_only", "1", "the database could not be opened for reading only"},
			{"SELECT sqlite_version() >= '3.23'", "1", "the SQLite library is older than 3.23"},
		},
	}, nil
}

// fileBelow resolves links and refuses files outside the folder.
func fileBelow(folder, file string) (string, error) {
	if folder == "" {
		return "", &Error{State: stateInvalidOptionValue, Message: "file databases are not allowed on this node",
			Hint: "Set portcullis.file_folder to the folder that holds them."}
	}
	if why := plain(file); why != "" {
		return "", badOption('s', "database", file, why)
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(folder, file)
	}
	root, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return "", &Error{State: stateInvalidOptionValue, Message: "the folder of file databases cannot be read",
			Hint: "Check portcullis.file_folder."}
	}
	outside := &Error{State: stateInvalidOptionValue, Message: "the database file is not a readable file below the folder of file databases",
		Hint: "It must be a regular file below portcullis.file_folder, after symbolic links are followed."}
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		return "", outside
	}
	rel, err := filepath.Rel(root, real)
	if err != nil || rel == "." || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", outside
	}
	if info, err := os.Stat(real); err != nil || !info.Mode().IsRegular() {
		return "", outside
	}
	if why := plain(real); why != "" {
		return "", badOption('s', "database", real, why)
	}
	return real, nil
}

func (sqlite) Quote(name string) (string, error) { return quoteWith(name, `"`, 0) }

// reference qualifies the name: SQLite takes a bare name in double quotes that
// it does not know for a string, so a missing column would be read as its own
// name. (Backquotes are no way out: the driver looks for ? and ; inside them.)
func (d sqlite) reference(c *TableColumn) (string, error) {
	col, err := d.Quote(c.RemoteName)
	return `"r1".` + col, err
}

func (d sqlite) Relation(t *Table) (string, error) {
	name, err := relationName(d, t)
	return name + ` AS "r1"`, err
}

// sqliteError makes SQLite fail with a message of ours: outside triggers it
// has no RAISE, but a bad JSON path is quoted in the error.
func sqliteError(what string) string { return "json_extract('{}', 'portcullis: " + what + "')" }

// Explain finds the message of sqliteError.
func (sqlite) Explain(message string) *Error {
	_, what, found := strings.Cut(message, "JSON path error near 'portcullis: ")
	if !found {
		return nil
	}
	what, _, _ = strings.Cut(what, "'")
	return &Error{State: stateBadText, Message: "the remote table holds " + what,
		Hint: "SQLite lets any column hold any type of value. Declare the column as text, or correct the value."}
}

func (d sqlite) Transfer(c *TableColumn) (Transfer, error) {
	col, err := d.reference(c)
	if err != nil {
		return Transfer{}, err
	}
	other := func(wanted string) string {
		return " WHEN 'null' THEN NULL ELSE " + sqliteError("another type of value in a column declared as "+wanted) + " END"
	}
	switch oid := baseOID(c.BaseType); oid {
	case oidInt2, oidInt4, oidInt8, oidOid:
		return Transfer{Select: "CASE typeof(" + col + ") WHEN 'integer' THEN " + col + other("integer"), Kind: KindInt64}, nil
	case oidFloat4, oidFloat8:
		// The driver itself goes through 15 digits. Beyond 2^53 an integer is no double.
		return Transfer{Select: "CASE typeof(" + col + ") WHEN 'real' THEN printf('%!.20g', " + col + ") WHEN 'integer' THEN CASE WHEN " + col +
			" BETWEEN -9007199254740992 AND 9007199254740992 THEN CAST(" + col + " AS TEXT) ELSE " +
			sqliteError("an integer above 2^53 in a column declared as double precision") + " END" + other("double precision"), Kind: KindText, MaxLen: 40}, nil
	case oidNumeric:
		// Fifteen digits where they give back the same double, else twenty.
		return Transfer{Select: "CASE typeof(" + col + ") WHEN 'integer' THEN CAST(" + col + " AS TEXT) WHEN 'real' THEN CASE WHEN CAST(printf('%!.15g', " + col +
			") AS REAL) = " + col + " THEN printf('%!.15g', " + col + ") ELSE printf('%!.20g', " + col + ") END WHEN 'text' THEN " + col + other("numeric"),
			Kind: KindText, MaxLen: textLength(c)}, nil
	case oidBool:
		return Transfer{Select: "CASE WHEN " + col + " IS NULL THEN NULL WHEN typeof(" + col + ") = 'integer' AND " + col + " IN (0, 1) THEN " + col +
			" ELSE " + sqliteError("something else than 0 and 1 in a column declared as boolean") + " END", Kind: KindBool}, nil
	case oidBytea:
		return Transfer{Select: "CASE typeof(" + col + ") WHEN 'blob' THEN " + col + other("bytea"), Kind: KindBytes}, nil
	case oidDate, oidTime, oidTimetz, oidTimestamp, oidTimestamptz, oidInterval:
		return Transfer{Select: "CASE typeof(" + col + ") WHEN 'text' THEN " + col + other(classOf(oid).String()), Kind: KindText, MaxLen: 40}, nil
	}
	// The driver cuts text at a NUL character.
	return Transfer{Select: "CASE typeof(" + col + ") WHEN 'text' THEN CASE WHEN instr(" + col + ", char(0)) = 0 THEN " + col + " ELSE " +
		sqliteError("a NUL character in text") + " END WHEN 'blob' THEN " + sqliteError("a blob in a column declared as text") +
		" ELSE CAST(" + col + " AS TEXT) END", Kind: KindText, MaxLen: textLength(c)}, nil
}

// Readable holds where Transfer does not fail; it is never NULL.
func (d sqlite) Readable(c *TableColumn) (string, error) {
	col, err := d.reference(c)
	if err != nil {
		return "", err
	}
	switch oid := baseOID(c.BaseType); oid {
	case oidInt2, oidInt4, oidInt8, oidOid:
		return "typeof(" + col + ") IN ('integer', 'null')", nil
	case oidFloat4, oidFloat8:
		return "CASE typeof(" + col + ") WHEN 'integer' THEN " + col + " BETWEEN -9007199254740992 AND 9007199254740992 ELSE typeof(" +
			col + ") IN ('real', 'null') END", nil
	case oidNumeric:
		return "typeof(" + col + ") <> 'blob'", nil
	case oidBool:
		return "(" + col + " IS NULL OR typeof(" + col + ") = 'integer' AND " + col + " IN (0, 1))", nil
	case oidBytea:
		return "typeof(" + col + ") IN ('blob', 'null')", nil
	case oidDate, oidTime, oidTimetz, oidTimestamp, oidTimestamptz, oidInterval:
		return "typeof(" + col + ") IN ('text', 'null')", nil
	}
	return "CASE typeof(" + col + ") WHEN 'text' THEN instr(" + col + ", char(0)) = 0 ELSE typeof(" + col + ") <> 'blob' END", nil
}

func (d sqlite) Exact(e Expr, t *Table, f *Facts) (Exactness, string) { return exactOf(d, e, t, f) }

func (d sqlite) Print(e Expr, t *Table, f *Facts, w *SQLWriter) error { return printTo(d, e, t, f, w) }

func (d sqlite) column(c *TableColumn, cl class) (string, string, error) {
	col, err := d.reference(c)
	if err != nil {
		return "", "", err
	}
	switch cl {
	case classText, classEnum:
		// BINARY compares bytes by memcmp (datatype3.html, section 7); the
		// column's own collation would hold through the cast.
		return "CAST(" + col + " AS TEXT) COLLATE BINARY", "", nil
	case classBpchar:
		return "rtrim(CAST(" + col + " AS TEXT), ' ') COLLATE BINARY", "", nil
	}
	return col, "", nil
}

// bound: ? has no affinity, so the value keeps the type that the driver binds
// (datatype3.html, section 4.2).
func (sqlite) bound(typ uint32, cl class, _ *string) (binding, string) {
	switch cl {
	case classInt:
		return binding{bind: BindInt64, code: encodeInt}, ""
	case classFloat:
		if typ == oidFloat4 {
			return binding{bind: BindFloat64, code: encodeFloat4}, ""
		}
		return binding{bind: BindFloat64, code: encodeFloat8}, ""
	case classBool:
		return binding{bind: BindInt64, code: encodeBool}, ""
	case classText, classEnum:
		return binding{bind: BindText, code: encodeText}, ""
	case classBpchar:
		return binding{bind: BindText, code: encodeTrimmed}, ""
	case classBytes:
		return binding{bind: BindBytes, code: encodeBytea}, ""
	}
	return binding{}, sqliteHasNo(cl)
}

func sqliteHasNo(cl class) string { return fmt.Sprintf("SQLite has no type %s", cl) }

// compare: integers and doubles compare by their exact values, blobs by
// memcmp (datatype3.html, section 4). Decimals and dates are doubles or text there.
func (sqlite) compare(cl class, ordered bool) string {
	switch cl {
	case classInt, classFloat, classBool, classText, classBpchar, classBytes:
		return ""
	case classEnum:
		if ordered {
			return "the order of enum labels is not known to SQLite"
		}
		return ""
	}
	return sqliteHasNo(cl)
}

// wider: an identical text, or a number (numbers sort before all text), whose
// text may be identical too. Both halves can use an index, and the second is
// empty in a column of text.
func (d sqlite) wider(c *TableColumn, cl class, _ bool) (string, string) {
	if cl != classText {
		return "", ""
	}
	col, err := d.reference(c)
	if err != nil {
		return "", ""
	}
	return "(" + col + " COLLATE BINARY", " OR " + col + " < '')"
}

func (sqlite) wideBound(b binding) binding { return b }

// distinct: IS NOT is inequality that knows NULL (lang_expr.html, "IS").
func (sqlite) distinct(left, right func() error, w *SQLWriter) error {
	w.Raw("(")
	if err := left(); err != nil {
		return err
	}
	w.Raw(" IS NOT ")
	if err := right(); err != nil {
		return err
	}
	w.Raw(")")
	return nil
}

func (sqlite) null(sql string, _ class, not bool) string {
	if not {
		return "(" + sql + " IS NOT NULL)"
	}
	return "(" + sql + " IS NULL)"
}

func (sqlite) truth(sql string) string { return "(" + sql + ")" }

// maxGlob is SQLITE_MAX_LIKE_PATTERN_LENGTH, in bytes.
const maxGlob = 50000

// like: GLOB knows case, where SQLite's LIKE does not (lang_expr.html).
func (d sqlite) like(p *printer, value Expr, cl class, pattern *string, _ Expr, not bool) error {
	if pattern == nil {
		return decline("LIKE with a pattern that is not constant is computed here")
	}
	glob, ok := likeToGlob(*pattern)
	if !ok || len(glob) > maxGlob {
		return decline("this pattern of LIKE is computed here")
	}
	p.w.Raw("(")
	if err := p.scalar(value, cl); err != nil {
		return err
	}
	p.w.Raw(map[bool]string{false: " GLOB ", true: " NOT GLOB "}[not])
	p.w.Bind(Arg{Param: -1, Type: oidText, text: &glob, bind: BindText, code: encodeText})
	p.w.Raw(")")
	return nil
}

func (sqlite) anyOf(*printer, *ScalarArray, class) (bool, error) { return false, nil }

func (sqlite) call(p *printer, f Fact, args []Expr, cl class) error {
	return p.safeArithmetic(f, args, cl, "", "")
}
