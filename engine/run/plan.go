package run

import (
	"slices"

	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/odbc"
)

// Pushed says of one condition whether the source computes it.
type Pushed struct {
	Pushed bool
	Why    string // why it stays here
}

// ValidateOptions checks the options of a catalog object: 's' server, 'm'
// user mapping, 't' table, 'c' column.
func ValidateOptions(object byte, options map[string]string) error {
	if err := fdw.ValidateOptions(object, options); err != nil {
		return AsError(err)
	}
	return nil
}

// CheckDriver refuses a server's driver that unixODBC does not know on this machine.
func CheckDriver(driver string) error {
	registered, err := odbc.Drivers()
	if err != nil {
		return &Error{State: stateSystem, Message: "could not list the drivers registered with unixODBC", Detail: err.Error(),
			Hint: "The server must be able to read odbcinst.ini; odbcinst -j says where it lies."}
	}
	if slices.Contains(registered, driver) {
		return nil
	}
	return AsError(fdw.NotRegistered(driver, registered))
}

// Push decides which conditions the source computes exactly as PostgreSQL.
func Push(source *Source, table *fdw.Table, quals fdw.Tree) ([]Pushed, error) {
	d, err := dialectOf(source)
	if err != nil {
		return nil, err
	}
	conditions, err := fdw.ReadQuals(quals)
	if err != nil {
		return nil, &Error{State: stateInternal, Message: "could not read the conditions of the query", Detail: err.Error()}
	}
	answers := make([]Pushed, len(conditions.List))
	for i, e := range conditions.List {
		exact, why := d.Exact(e, table, conditions.Facts)
		answers[i] = Pushed{Pushed: exact != fdw.No, Why: why}
	}
	return answers, nil
}
