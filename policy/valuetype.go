package policy

// ValueType is the type that constants compared with a column of this type
// carry (Predicate, Value.Type): bigint for every integer, text for character
// varying … It is "" for types that no predicate compares.
func ValueType(typeName string) string { return parseType(typeName).valueType() }
