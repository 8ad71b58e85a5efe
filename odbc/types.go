// Package odbc reads remote databases through unixODBC: connections, block
// cursors, catalogs, cancellation. It knows nothing of the rest of the project.
package odbc

import "time"

// Kind says how the values of a column lie in a block (pc_kind in block.h).
type Kind int32

// Kinds, equal to the PC_KIND_ constants.
const (
	KindInt64     Kind = 1
	KindUint64    Kind = 2
	KindFloat64   Kind = 3
	KindBool      Kind = 4
	KindText      Kind = 5 // UTF-8
	KindBytes     Kind = 6
	KindDate      Kind = 7 // SQL_DATE_STRUCT
	KindTimestamp Kind = 8 // SQL_TIMESTAMP_STRUCT
	// KindFloat64Bits is a double that arrives as the integer of its bits, and
	// lies in the block as KindFloat64.
	KindFloat64Bits Kind = 9
)

// Column is one column of a result as the caller wants it.
type Column struct {
	Kind   Kind
	MaxLen int64 // declared length in bytes, 0 unknown
}

// ParamType is the type of a bound parameter.
type ParamType int32

// Parameter types. Text, numeric, date, time and timestamp all travel as
// characters: the SQL text says by a cast what they are.
const (
	ParamInt       ParamType = 1 // Int
	ParamFloat     ParamType = 2 // Float
	ParamText      ParamType = 3 // Text, UTF-8
	ParamBytes     ParamType = 4 // Bytes
	ParamBool      ParamType = 5 // Int, 0 or 1
	ParamNumeric   ParamType = 6 // Text
	ParamDate      ParamType = 7 // Text, ISO
	ParamTime      ParamType = 8 // Text, ISO
	ParamTimestamp ParamType = 9 // Text, ISO
)

// Param is one bound parameter, in the order of the question marks.
type Param struct {
	Type  ParamType
	Null  bool
	Text  string
	Int   int64
	Float float64
	Bytes []byte
}

// Attr is one attribute of a connection string.
type Attr struct{ Name, Value string }

// ConnSpec names a registered driver and the attributes to connect with. The
// caller decides which attributes are allowed; quoting is done here.
type ConnSpec struct {
	Driver       string
	Attrs        []Attr
	LoginTimeout time.Duration // 0: the driver's own
	ReadOnly     bool          // ask the driver for a read-only connection, where it knows that

	side bool // a connection made only to interrupt another
}

// QueryOptions bound what a cursor holds in memory. Zero values mean defaults.
type QueryOptions struct {
	BlockRows  int // most rows in a block, default 1000
	BlockBytes int // most bytes of a block without long values, default 1 MiB
	Blocks     int // blocks in the ring, 1 to 3, default 3
	TextRoom   int // bytes kept in place for a text of unknown length, default 64
	Told       int // further columns of the result, whose types are told and which nobody reads
}

// ColumnType is what a driver tells of the type of a result's column.
type ColumnType struct {
	SQLType   int // SQL_ type code
	Unsigned  bool
	Precision int    // of an exact number, else 0
	TypeName  string // the source's own name of the type
}

// Info is what a connection tells of itself.
type Info struct {
	DBMSName, DBMSVersion     string
	DriverName, DriverVersion string
	DatabaseName              string
	Quote                     string // identifier quote, "" if none
	MaxStatements             int    // active statements at once, 0 unlimited
	GetData                   uint32 // SQL_GETDATA_EXTENSIONS
	Isolations                uint32 // SQL_TXN_ISOLATION_OPTION
}

// Isolation levels, as SQL_TXN_.
type Isolation uint32

// The four levels of the standard.
const (
	ReadUncommitted Isolation = 1
	ReadCommitted   Isolation = 2
	RepeatableRead  Isolation = 4
	Serializable    Isolation = 8
)
