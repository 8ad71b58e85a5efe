package fdw

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
			"driver": anyText, "database": file, "busy_timeout": number(0, 600000),
			"use_remote_estimate": boolean,
		},
		Mapping: commonMapping(), Table: commonTable(), Column: commonColumn(),
		Needed: []string{"database"},
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

// file is plain and does not climb out of the folder by itself; whether it
// lies below the folder, after links are followed, is seen where the folder is.
func file(v string) string {
	switch {
	case !filepath.IsAbs(v) && !filepath.IsLocal(v), slices.Contains(strings.Split(v, "/"), ".."):
		return "it leads out of the folder of file databases"
	case v == "." || strings.HasSuffix(v, "/"):
		return "it is a folder"
	}
	return plain(v)
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

// Explain finds the message of a function that refused a value.
func (sqlite) Explain(message string) *Error {
	if strings.Contains(message, "readonly database") || strings.Contains(message, "unable to open database file") {
		return &Error{State: stateNotWritable, Message: "the database file cannot be read without being written: it is in WAL mode, or was left in the middle of a change",
			Hint: "Let the operating-system user of this server write the file and its folder, or have the file's owner end that: PRAGMA journal_mode = DELETE."}
	}
	_, what, found := strings.Cut(message, "'portcullis: ")
	if !found {
		return nil
	}
	what, _, _ = strings.Cut(what, "'")
	return &Error{State: stateBadText, Message: "the remote table holds " + what,
		Hint: "SQLite lets any column hold any type of value. Declare the column as text, or correct the value."}
}

// Transfer fetches through the functions that package odbc adds to SQLite:
// they refuse what is none of the column's type, and bring the rest past a
// driver that gives doubles 15 digits and cuts text at a NUL.
func (d sqlite) Transfer(c *TableColumn) (Transfer, error) {
	col, err := d.reference(c)
	if err != nil {
		return Transfer{}, err
	}
	through := func(function, declared string, kind Kind, maxLen int64) (Transfer, error) {
		return Transfer{Select: "portcullis_" + function + "(" + col + ", '" + declared + "')", Kind: kind, MaxLen: maxLen}, nil
	}
	switch oid := baseOID(c.BaseType); oid {
	case oidInt2, oidInt4, oidInt8, oidOid:
		return through("integer", "integer", KindInt64, 0)
	case oidFloat4, oidFloat8:
		return through("double", "double precision", KindFloat64Bits, 0)
	case oidNumeric:
		return through("numeric", "numeric", KindText, textLength(c))
	case oidBool:
		return through("boolean", "boolean", KindBool, 0)
	case oidBytea:
		return through("bytes", "bytea", KindBytes, 0)
	case oidDate, oidTime, oidTimetz, oidTimestamp, oidTimestamptz, oidInterval:
		return through("string", classOf(oid).String(), KindText, 40)
	}
	return through("text", "text", KindText, textLength(c))
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
		return sqliteText(col), nil
	case oidBool:
		return "(" + col + " IS NULL OR typeof(" + col + ") = 'integer' AND " + col + " IN (0, 1))", nil
	case oidBytea:
		return "typeof(" + col + ") IN ('blob', 'null')", nil
	case oidDate, oidTime, oidTimetz, oidTimestamp, oidTimestamptz, oidInterval:
		return "CASE typeof(" + col + ") WHEN 'text' THEN instr(" + col + ", char(0)) = 0 ELSE " + col + " IS NULL END", nil
	}
	return sqliteText(col), nil
}

// sqliteText holds for what is no blob and no text with a NUL character.
func sqliteText(col string) string {
	return "CASE typeof(" + col + ") WHEN 'text' THEN instr(" + col + ", char(0)) = 0 ELSE typeof(" + col + ") <> 'blob' END"
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
