package fdw

// OIDs of PostgreSQL's built-in types; fixed since they were introduced
// (src/include/catalog/pg_type.dat).
const (
	oidBool        = 16
	oidBytea       = 17
	oidName        = 19
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidOid         = 26
	oidFloat4      = 700
	oidFloat8      = 701
	oidBpchar      = 1042
	oidVarchar     = 1043
	oidDate        = 1082
	oidTime        = 1083
	oidTimestamp   = 1114
	oidTimestamptz = 1184
	oidInterval    = 1186
	oidTimetz      = 1266
	oidNumeric     = 1700
	oidUUID        = 2950
	oidAnyEnum     = 3500
)

// oidC is the collation "C", oidPosix its twin.
const (
	oidC     = 950
	oidPosix = 951
)

// class groups types whose values compare with each other in one way.
type class int

const (
	classNone class = iota
	classInt
	classNumeric
	classFloat
	classBool
	classText   // text, varchar and name below a relabel
	classBpchar // trailing blanks do not count
	classBytes
	classDate
	classTimestamp
	classTimestamptz
	classTime
	classTimetz
	classInterval
	classUUID
	classEnum
)

var classNames = map[class]string{
	classInt: "integer", classNumeric: "numeric", classFloat: "floating point", classBool: "boolean", classText: "text",
	classBpchar: "character(n)", classBytes: "bytea", classDate: "date", classTimestamp: "timestamp",
	classTimestamptz: "timestamp with time zone", classTime: "time", classTimetz: "time with time zone",
	classInterval: "interval", classUUID: "uuid", classEnum: "enum",
}

func (c class) String() string {
	if n := classNames[c]; n != "" {
		return n
	}
	return "other"
}

// classOf is the class of a built-in type.
func classOf(oid uint32) class {
	switch oid {
	case oidInt2, oidInt4, oidInt8:
		return classInt
	case oidNumeric:
		return classNumeric
	case oidFloat4, oidFloat8:
		return classFloat
	case oidBool:
		return classBool
	case oidText, oidVarchar:
		return classText
	case oidBpchar:
		return classBpchar
	case oidBytea:
		return classBytes
	case oidDate:
		return classDate
	case oidTimestamp:
		return classTimestamp
	case oidTimestamptz:
		return classTimestamptz
	case oidTime:
		return classTime
	case oidTimetz:
		return classTimetz
	case oidInterval:
		return classInterval
	case oidUUID:
		return classUUID
	case oidAnyEnum:
		return classEnum
	}
	return classNone
}

// elementOf is the element type of a built-in array type, 0 if it is none of those that can be pushed.
func elementOf(array uint32) uint32 {
	switch array {
	case 1000:
		return oidBool
	case 1001:
		return oidBytea
	case 1005:
		return oidInt2
	case 1007:
		return oidInt4
	case 1016:
		return oidInt8
	case 1009:
		return oidText
	case 1015:
		return oidVarchar
	case 1014:
		return oidBpchar
	case 1021:
		return oidFloat4
	case 1022:
		return oidFloat8
	case 1115:
		return oidTimestamp
	case 1182:
		return oidDate
	case 1183:
		return oidTime
	case 1185:
		return oidTimestamptz
	case 1187:
		return oidInterval
	case 1231:
		return oidNumeric
	case 1270:
		return oidTimetz
	case 2951:
		return oidUUID
	}
	return 0
}

// builtinName is the SQL name of a built-in type, as every PostgreSQL reads it.
func builtinName(oid uint32) string {
	switch oid {
	case oidBool:
		return "pg_catalog.bool"
	case oidBytea:
		return "pg_catalog.bytea"
	case oidInt2:
		return "pg_catalog.int2"
	case oidInt4:
		return "pg_catalog.int4"
	case oidInt8:
		return "pg_catalog.int8"
	case oidText, oidVarchar:
		return "pg_catalog.text"
	case oidBpchar:
		return "pg_catalog.bpchar"
	case oidFloat4:
		return "pg_catalog.float4"
	case oidFloat8:
		return "pg_catalog.float8"
	case oidDate:
		return "pg_catalog.date"
	case oidTime:
		return "pg_catalog.time"
	case oidTimetz:
		return "pg_catalog.timetz"
	case oidTimestamp:
		return "pg_catalog.timestamp"
	case oidTimestamptz:
		return "pg_catalog.timestamptz"
	case oidInterval:
		return "pg_catalog.interval"
	case oidNumeric:
		return "pg_catalog.numeric"
	case oidUUID:
		return "pg_catalog.uuid"
	}
	return ""
}

// baseOID is the OID of the built-in type that TableColumn.BaseType names, 0 where it is another.
func baseOID(name string) uint32 {
	switch name {
	case "bool", "boolean":
		return oidBool
	case "bytea":
		return oidBytea
	case "int2", "smallint":
		return oidInt2
	case "int4", "integer":
		return oidInt4
	case "int8", "bigint":
		return oidInt8
	case "text":
		return oidText
	case "varchar", "character varying":
		return oidVarchar
	case "bpchar", "character":
		return oidBpchar
	case "name":
		return oidName
	case "oid":
		return oidOid
	case "float4", "real":
		return oidFloat4
	case "float8", "double precision":
		return oidFloat8
	case "numeric", "decimal":
		return oidNumeric
	case "date":
		return oidDate
	case "time", "time without time zone":
		return oidTime
	case "timetz", "time with time zone":
		return oidTimetz
	case "timestamp", "timestamp without time zone":
		return oidTimestamp
	case "timestamptz", "timestamp with time zone":
		return oidTimestamptz
	case "interval":
		return oidInterval
	case "uuid":
		return oidUUID
	case "enum":
		return oidAnyEnum
	}
	return 0
}
