package odbc

import (
	"math"
	"strings"
)

// cancelWay says how a running call on a driver is interrupted. SQLCancel
// from another thread is only safe where the driver's code was read.
type cancelWay int

const (
	cancelByDriver cancelWay = iota // SQLCancel
	cancelByKill                    // a statement on a second connection
	cancelBySQLite                  // sqlite3_interrupt
	cancelNever
)

// traits is what is known of a driver, found by reading it and by trying.
type traits struct {
	// native: SQL_C_SBIGINT, SQL_C_DOUBLE and the like fill the buffer
	// exactly; else values are fetched as text and converted here.
	native bool
	// braces tells whether the driver undoes braces around the value of an
	// attribute (lower-case name). Where it does not, values needing them are refused.
	braces func(name string) bool
	// always: a value that may be braced is, since the driver reads a bare one otherwise.
	always bool
	// trims: blanks at the ends of a value are lost even inside braces.
	trims bool
	// maxValue: longer values are cut by the driver without a word; 0 no limit.
	maxValue func(name string) int
	// setPos: SQLSetPos and SQLGetData reach any row of a block and leave the cursor where it was.
	setPos bool
	// keepsLengths: no value is longer than the length declared for its column.
	keepsLengths bool
	// nullAsCut: a NULL in the column of a value that was cut is told as cut, too.
	nullAsCut bool
	// logsInTmp: without being asked, see mute.
	logsInTmp bool
	// literals: parameters are written into the statement, since the driver
	// reads whole results of statements that have any.
	literals bool
	// maxStatements corrects SQL_MAX_CONCURRENT_ACTIVITIES; 0: believe it.
	maxStatements int
	nan, inf      bool // float parameters that arrive as they are
	// wrapsUnsigned: SQL_C_SBIGINT of an unsigned 64-bit value wraps silently.
	wrapsUnsigned bool
	// convertsNumbers: a number is made of whatever type the column has, and
	// the type that is described can be believed.
	convertsNumbers bool
	cancel          cancelWay
	// quietFrom is the driver's version from which SQLEndTran sends nothing where
	// the driver knows of no transaction, though a failed statement may have
	// left the locks of its tables, and that writes values into statements; empty: none.
	quietFrom string
	// sessionSQL asks the source for its number of this session, killSQL
	// interrupts the statement of that session; aliveSQL is the cheapest
	// statement that opens no cursor, empty where SQL_ATTR_CONNECTION_DEAD
	// asks the server or there is none.
	sessionSQL, killSQL, aliveSQL string
	// longestSQL asks the source for the longest statement that it takes, in
	// bytes with its values; a longer one ends the session. Empty: any length.
	longestSQL string
}

func never(string) bool            { return false }
func anyName(string) bool          { return true }
func noLimit(string) int           { return 0 }
func limit(n int) func(string) int { return func(string) int { return n } }

// psqlODBC 13: dlg_specific.c decodes %XX and + of a bare password and
// undoes braces for three attributes only; the rest is copied into
// arrays of 256, port of 10 bytes. Its SQLCancel does nothing between
// executions, so a fetch is interrupted from a second connection.
func psqlTraits() traits {
	return traits{
		native: true, always: true, setPos: true, nan: true, inf: true, convertsNumbers: true, logsInTmp: true,
		braces: func(name string) bool {
			return name == "pwd" || name == "password" || name == "connsettings" || name == "pqopt"
		},
		maxValue: func(name string) int {
			switch name {
			case "pwd", "password", "connsettings", "pqopt":
				return 0
			case "port":
				return 9
			}
			return 255
		},
		cancel:     cancelByDriver,
		sessionSQL: "VALUES (pg_backend_pid())",
		killSQL:    "VALUES (pg_cancel_backend(%d))",
		aliveSQL:   "VALUES (1)",
	}
}

// MariaDB Connector/ODBC 3.1: SQLCancel closes a statement under the hands
// of a thread that is fetching and unlocks a lock it does not hold, hence KILL.
// Its SQLSetPos moves the cursor: the next fetch would skip rows.
func mariaTraits() traits {
	return traits{
		native: true, always: true, trims: true, wrapsUnsigned: true, keepsLengths: true, nullAsCut: true, convertsNumbers: true,
		braces: anyName, maxValue: noLimit, quietFrom: "03.02",
		cancel:     cancelByKill,
		sessionSQL: "SELECT CONNECTION_ID()",
		killSQL:    "KILL QUERY %d",
		longestSQL: "SELECT @@max_allowed_packet",
	}
}

// sqliteodbc 0.9998 knows no braces and splits at every semicolon; its
// SQLCancel frees what another thread is stepping through. With StepAPI=1 it
// streams one statement at a time, and only if that has no parameters.
func sqliteTraits() traits {
	return traits{
		native: true, inf: true, literals: true, maxStatements: 1,
		braces: never, maxValue: limit(511),
		cancel: cancelBySQLite,
	}
}

// Drivers never met: nothing is trusted.
func unknownTraits() traits {
	return traits{braces: never, maxValue: noLimit, cancel: cancelByDriver}
}

// traitsOf goes by the library's file name.
func traitsOf(library string) traits {
	base := strings.ToLower(library[strings.LastIndexByte(library, '/')+1:])
	switch {
	case strings.HasPrefix(base, "psqlodbcw"):
		return psqlTraits()
	case strings.HasPrefix(base, "psqlodbca"):
		t := psqlTraits()
		t.native = false
		return t
	case strings.HasPrefix(base, "libmaodbc"):
		return mariaTraits()
	case strings.HasPrefix(base, "libsqlite3odbc"), strings.HasPrefix(base, "libsqliteodbc"):
		return sqliteTraits()
	case strings.HasPrefix(base, "virtodbc"):
		t := unknownTraits()
		t.cancel = cancelNever // it aborts the process
		return t
	}
	return unknownTraits()
}

// takesFloat tells whether a float parameter reaches the source as it is.
func (t traits) takesFloat(f float64) bool {
	return (t.nan || !math.IsNaN(f)) && (t.inf || !math.IsInf(f, 0))
}
