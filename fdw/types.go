package fdw

import (
	"context"
	"fmt"
)

// Kind says how the values of a column lie in a row block (odbc/block.h).
type Kind int32

// The kinds, numbered as in block.h.
const (
	KindInt64     Kind = 1
	KindUint64    Kind = 2
	KindFloat64   Kind = 3
	KindBool      Kind = 4
	KindText      Kind = 5
	KindBytes     Kind = 6
	KindDate      Kind = 7
	KindTimestamp Kind = 8
	// KindFloat64Bits is a double sent as the integer of its bits; it lies in
	// the block as KindFloat64.
	KindFloat64Bits Kind = 9
)

// Table is a foreign table as the catalog describes it (engine.h, pc_table).
type Table struct {
	RelID        uint32
	LocalSchema  string
	LocalName    string
	RemoteSchema string // "" where the schema_name option is not set
	RemoteName   string
	DataSource   string // uuid, "" if none
	Columns      []TableColumn
}

// TableColumn is one live column of a Table (engine.h, pc_attribute).
type TableColumn struct {
	Attnum        int32
	TypeOID       uint32
	Typmod        int32
	Collation     uint32
	Name          string // local
	RemoteName    string
	TypeName      string // as format_type prints it
	BaseType      string // built-in name below domains: int4, text …; "enum" for enums
	NotNull       bool
	CollationKind byte // 'c', 'd', 'n', 0: see engine.h
}

// ByAttnum finds a column by its number.
func (t *Table) ByAttnum(attnum int32) *TableColumn {
	for i := range t.Columns {
		if t.Columns[i].Attnum == attnum {
			return &t.Columns[i]
		}
	}
	return nil
}

// ByRemoteName finds a column by its name at the source.
func (t *Table) ByRemoteName(name string) *TableColumn {
	for i := range t.Columns {
		if t.Columns[i].RemoteName == name {
			return &t.Columns[i]
		}
	}
	return nil
}

// Transfer says how one column is fetched.
type Transfer struct {
	Select string // expression of the remote select list
	Kind   Kind
	MaxLen int64 // longest value in bytes where it is known, else 0
}

// Querier asks the remote catalog; a nil cell is SQL NULL.
type Querier interface {
	QueryStrings(ctx context.Context, sql string, params []string) ([][]*string, error)
}

// Error is an error as PostgreSQL reports it.
type Error struct {
	State   string // SQLSTATE
	Message string
	Detail  string
	Hint    string
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return fmt.Sprintf("%s (%s)", e.Message, e.State)
	}
	return fmt.Sprintf("%s (%s; %s)", e.Message, e.State, e.Hint)
}

// SQLSTATEs that this package reports.
const (
	stateInvalidOptionName  = "HV00D" // FDW_INVALID_OPTION_NAME
	stateInvalidOptionValue = "HV024" // FDW_INVALID_ATTRIBUTE_VALUE
	stateMissingOption      = "HV00J" // FDW_OPTION_NAME_NOT_FOUND
	stateNoSchemas          = "HV00P" // FDW_NO_SCHEMAS
	stateTableNotFound      = "HV00R" // FDW_TABLE_NOT_FOUND
	stateNotWritable        = "HV00N" // FDW_UNABLE_TO_ESTABLISH_CONNECTION
	stateInvalidName        = "42602" // INVALID_NAME
	stateNameTooLong        = "42622" // NAME_TOO_LONG
	stateOutOfRange         = "22003" // NUMERIC_VALUE_OUT_OF_RANGE
	stateBadText            = "22P02" // INVALID_TEXT_REPRESENTATION
	stateDatetimeOverflow   = "22008" // DATETIME_FIELD_OVERFLOW
	stateInternal           = "XX000"
)
