package run

import (
	"errors"
	"fmt"
	"strings"

	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/odbc"
)

// cause is what went wrong at a source, as far as a person can act on it.
type cause int

const (
	causeOther cause = iota
	causeNoDriver
	causeHost
	causeRefused
	causeLogin
	causeDatabase
	causeTimeout
	causeLost
	causeNoTable
	causeNoColumn
	causeDenied
	causeCanceled
	causeData
	causeConflict
	causeTooLong
	causeNoTLS
)

// bySQLState tells causes by the SQLSTATE that drivers give, longest prefix first.
var bySQLState = []struct {
	prefix string
	cause  cause
}{
	{"IM002", causeNoDriver}, {"IM003", causeNoDriver},
	{"28", causeLogin}, {"3D", causeDatabase},
	{"HYT", causeTimeout}, {"S1T", causeTimeout},
	{"42S02", causeNoTable}, {"42P01", causeNoTable}, {"3F000", causeNoTable},
	{"42S22", causeNoColumn}, {"42703", causeNoColumn},
	{"42501", causeDenied},
	{"57014", causeCanceled}, {"HY008", causeCanceled}, {"70100", causeCanceled},
	{"08", causeLost}, {"57P", causeLost},
	{"22", causeData}, {"40", causeConflict}, {odbc.TooLong, causeTooLong},
}

// byNative tells causes by the codes of MariaDB, whose driver gives HY000 for many.
var byNative = map[int]cause{
	1044: causeDenied, 1045: causeLogin, 1049: causeDatabase, 1054: causeNoColumn, 1142: causeDenied, 1143: causeDenied,
	1146: causeNoTable, 1317: causeCanceled, 1698: causeLogin, 1969: causeTimeout,
	2002: causeRefused, 2003: causeRefused, 2005: causeHost, 2006: causeLost, 2013: causeLost, 2055: causeLost, 5014: causeLost,
}

// byText tells causes by what drivers say where their codes do not.
var byText = []struct {
	part  string
	cause cause
}{
	{"can't open lib", causeNoDriver},
	{"server does not support ssl", causeNoTLS}, {"ssl is required, but the server does not support it", causeNoTLS},
	{"could not translate host name", causeHost}, {"unknown server host", causeHost}, {"unknown mysql server host", causeHost},
	{"unknown mariadb server host", causeHost}, {"name or service not known", causeHost},
	{"timeout expired", causeTimeout}, {"timed out", causeTimeout},
	{"password authentication failed", causeLogin}, {"no password supplied", causeLogin}, {"access denied for user", causeLogin},
	{"no pg_hba.conf entry", causeLogin},
	{"connection refused", causeRefused}, {"no route to host", causeRefused}, {"can't connect to", causeRefused},
	{"server closed the connection", causeLost}, {"terminating connection", causeLost}, {"lost connection", causeLost},
	{"connection reset", causeLost}, {"gone away", causeLost}, {"no connection to the server", causeLost},
	{"no such table", causeNoTable}, {"no such column", causeNoColumn},
	{"interrupted", causeCanceled}, {"canceling statement", causeCanceled},
	{"unable to open database", causeDatabase},
}

func causeOf(e *odbc.Error) cause {
	text := strings.ToLower(e.Message)
	if strings.Contains(text, "database \"") && strings.Contains(text, "\" does not exist") {
		return causeDatabase
	}
	for _, known := range byText {
		if strings.Contains(text, known.part) {
			return known.cause
		}
	}
	if c, known := byNative[e.Native]; known && e.Native != 0 {
		return c
	}
	for _, known := range bySQLState {
		if strings.HasPrefix(e.State, known.prefix) {
			return known.cause
		}
	}
	return causeOther
}

// lost tells whether an error means that the connection is gone.
func lost(err error) bool {
	var remote *odbc.Error
	return errors.As(err, &remote) && causeOf(remote) == causeLost
}

// remoteSays begins every detail that holds text of a driver or server.
const remoteSays = "Driver \""

// remoteDetail is what the driver said, for the error's detail.
func remoteDetail(e *odbc.Error) string {
	return fmt.Sprintf(remoteSays+"%s\", SQLSTATE %s, native code %d: %s", e.Driver, e.State, e.Native, strings.TrimSpace(e.Message))
}

// connectError is a failed connect as the person reads it.
func connectError(source *Source, driver string, err error) error {
	var remote *odbc.Error
	if !errors.As(err, &remote) {
		return &Error{State: stateConnect, Message: fmt.Sprintf("could not connect to server \"%s\"", source.ServerName), Detail: err.Error()}
	}
	said := *remote
	if said.Driver == "" { // what the driver was never asked
		said.Driver = driver
	}
	e := &Error{State: stateConnect, Detail: remoteDetail(&said)}
	why := ""
	switch causeOf(remote) {
	case causeNoDriver:
		e.State = "HV00N" // unable to establish connection
		why = fmt.Sprintf("the driver \"%s\" cannot be loaded", driver)
		e.Hint = remote.Hint
		var unknown *Error
		if errors.As(CheckDriver(driver), &unknown) {
			why, e.Detail, e.Hint = unknown.Message, "", unknown.Hint
		}
	case causeHost:
		why = "its host name is not known"
		e.Hint = "Check the option host of the server."
	case causeRefused:
		why = "nothing answers at its address"
		e.Hint = "Check the options host and port of the server, and whether the remote database runs."
	case causeLogin:
		e.State = stateBadPassword
		why = "the login was refused"
		e.Hint = "Check username and password of the user mapping."
	case causeDatabase:
		why = "the remote database does not exist or cannot be opened"
		e.Hint = "Check the option database of the server."
	case causeNoTLS:
		why = "it offers no TLS"
		e.Hint = "Switch TLS on at the remote database. Where the network needs none, set the server's option sslmode to disable."
	case causeTimeout:
		why = "it did not answer in time"
		e.Hint = "Check the options host and port of the server, and the network."
	default:
		e.Hint = remote.Hint
	}
	e.Message = fmt.Sprintf("could not connect to server \"%s\"", source.ServerName)
	if why != "" {
		e.Message += ": " + why
	}
	return e
}

// sourceError is an error of a statement at a source. what completes "could
// not … server".
func sourceError(source *Source, d fdw.Dialect, what string, err error) error {
	var ours *Error
	if errors.As(err, &ours) {
		return ours
	}
	var remote *odbc.Error
	if !errors.As(err, &remote) {
		return &Error{State: stateFDW, Message: fmt.Sprintf("could not %s server \"%s\"", what, source.ServerName), Detail: err.Error()}
	}
	if known := d.Explain(remote.Message); known != nil {
		return AsError(known)
	}
	e := &Error{Detail: remoteDetail(remote)}
	e.State, e.Message, e.Hint = describe(causeOf(remote), remote.State, what, source.ServerName)
	return e
}

// describe gives state, message and hint; none of them depends on remote text.
func describe(c cause, remoteState, what, server string) (state, message, hint string) {
	message = fmt.Sprintf("could not %s server \"%s\"", what, server)
	switch c {
	case causeLost, causeRefused, causeHost:
		return stateConnectionLost, fmt.Sprintf("the connection to server \"%s\" was lost", server),
			"Run the statement again; a new connection is made."
	case causeNoTable:
		return stateNoTable, message + ": the remote table does not exist",
			"Check the options schema_name and table_name of the foreign table."
	case causeNoColumn:
		return "HV005", message + ": a remote column does not exist",
			"Compare the foreign table with the remote one; the option column_name names a remote column."
	case causeDenied, causeLogin:
		return stateDenied, message + ": its credentials may not read the remote table",
			"Grant SELECT on the remote table to the user of the user mapping."
	case causeTimeout:
		return "57014", message + ": the remote statement took too long", ""
	case causeCanceled:
		return "57014", message + ": the remote statement was canceled", ""
	case causeConflict:
		return "40001", message + ": the remote transaction was rolled back", "Run the statement again."
	case causeTooLong:
		return stateTooLong, message + ": the statement's values are longer than it takes",
			"Compare with shorter values, or have the server's limit raised (MariaDB: max_allowed_packet)."
	case causeData:
		if len(remoteState) == 5 {
			return remoteState, message, ""
		}
	}
	return stateFDW, message, ""
}

// hidden takes out of a source's error whatever could tell of hidden rows or
// raw values: the remote text, and which data error it was.
func hidden(source *Source, err error) error {
	e := AsError(err)
	switch e.State {
	case stateInternal, stateTooMany, stateLimit, stateChanged:
		return e
	case stateCanceled:
		if !strings.HasPrefix(e.Detail, remoteSays) {
			return e
		}
	}
	plain := &Error{State: e.State, Message: e.Message}
	if strings.HasPrefix(e.State, "22") || e.State == stateFDW {
		plain.State = stateFDW
		plain.Message = fmt.Sprintf("could not read from server \"%s\"", source.ServerName)
	}
	if e.State == stateTooLong {
		plain.Hint = e.Hint
	} else if e.Detail != "" {
		plain.Hint = "The details are for administrators: a row filter or mask is in force."
	}
	return plain
}
