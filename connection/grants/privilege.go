package grants

import (
	"fmt"
	"slices"
	"strings"
)

// bits is what a role can do with a table, and by what.
type bits uint64

const (
	canSelect bits = 1 << iota
	canInsert
	canUpdate
	canDelete
	canTruncate
	canReference
	canTrigger
	canMaintain
)

// The same eight with the grant option.
const (
	optionShift       = 8
	tableBits    bits = 0xff
	optionBits   bits = tableBits << optionShift
	wordsOfWrite bits = canSelect | canInsert | canUpdate | canDelete | canTruncate
)

// On some column at least, and ways around table privileges.
const (
	someSelect bits = 1 << (16 + iota)
	someInsert
	someUpdate
	someReference
	someOption      // the grant option of any of these
	asOwner         // of the table
	asSchemaOwner   // can drop and replace the table
	asDatabaseOwner // the same
	asSuperuser
	asRoleMaker   // CREATEROLE up to PostgreSQL 15 reaches every role
	asReplication // reads every change
	asServerFiles // reads the files below the tables
	asBypassRLS
	byRelation // a view, or a table that it is part of, reads it for them
	byFunction // a SECURITY DEFINER function reads it for them
	byInsert   // a view, or a table that it is part of, writes it for them
	byUpdate
	byDelete
	byTruncate
	byRule   // a rule or a trigger of another relation, or a key that refers to it, acts on it
	byWriter // a SECURITY DEFINER function may write it for them
	byCode   // a function of theirs is called with its rows
	byKey    // a foreign key of a table of theirs tells which of its keys exist
	pastRows // a view or function acts with rights for which its policies do not count
	onlyRows // policies give them some rows only: never reached, but wanted
)

// What other relations do for people, and what is needed on them for that.
const (
	throughRelation = byRelation | byInsert | byUpdate | byDelete | byTruncate | byRule | pastRows
	throughFunction = byFunction | byWriter
	throughHanging  = byCode | byKey
)

var throughs = [][2]bits{{canSelect, byRelation}, {canInsert, byInsert}, {canUpdate, byUpdate}, {canDelete, byDelete}, {canTruncate, byTruncate}}

// amounting is throughs with what shows no more to who sees all rows anyway.
var amounting = append(slices.Clip(throughs), [2]bits{canSelect, pastRows})

const columnBits = someSelect | someInsert | someUpdate | someReference

var privilegeNames = []string{"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"}

var otherNames = map[bits]string{
	someSelect: "SELECT on columns", someInsert: "INSERT on columns", someUpdate: "UPDATE on columns",
	someReference: "REFERENCES on columns", someOption: "GRANT OPTION on columns", asOwner: "ownership", asSchemaOwner: "ownership of the schema",
	asDatabaseOwner: "ownership of the database", asSuperuser: "SUPERUSER", asRoleMaker: "CREATEROLE",
	asReplication: "REPLICATION", asServerFiles: "files and programs of the server", asBypassRLS: "BYPASSRLS",
	byRelation: "SELECT through another relation", byFunction: "EXECUTE of a function that reads it",
	byInsert: "INSERT through another relation", byUpdate: "UPDATE through another relation", byDelete: "DELETE through another relation",
	byTruncate: "TRUNCATE through another relation", byRule: "a rule, trigger or foreign key that acts on it", byWriter: "EXECUTE of a function that may write it",
	byCode: "a function that its rows are given to", byKey: "a foreign key that refers to it",
	pastRows: "rows that its policies hide, through a view or function for which they do not count",
}

// parsePrivilege knows the names that aclexplode gives for tables; ok is false
// for one of a later version.
func parsePrivilege(name string) (bits, bool) {
	if i := slices.Index(privilegeNames, name); i >= 0 {
		return 1 << i, true
	}
	return 0, false
}

// names lists the table privileges of b.
func (b bits) names() []string {
	var out []string
	for i, n := range privilegeNames {
		if b&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return out
}

func (b bits) String() string {
	out := b.names()
	for i, n := range privilegeNames {
		if b&(1<<(i+optionShift)) != 0 {
			out = append(out, n+" WITH GRANT OPTION")
		}
	}
	for bit := someSelect; bit <= pastRows; bit <<= 1 {
		if b&bit != 0 {
			out = append(out, otherNames[bit])
		}
	}
	return strings.Join(out, ", ")
}

// covered is what each privilege on a table covers.
var covered = append([][2]bits{{canSelect, someSelect}, {canInsert, someInsert}, {canUpdate, someUpdate}, {canSelect, byFunction}, {canSelect, byKey}}, amounting...)

// within are the bits that having b makes unremarkable: a privilege on the table
// covers the same on its columns.
func (b bits) within() bits {
	out := b
	for _, pair := range covered {
		if b&pair[0] != 0 {
			out |= pair[1]
		}
	}
	if b&onlyRows != 0 {
		out &^= pastRows
	}
	if b&wordsOfWrite == wordsOfWrite {
		out |= byRule | byWriter
	}
	return out
}

// entry is one item of an ACL: what a grantor gave a grantee (0 is PUBLIC).
type entry struct {
	grantee, grantor uint32
	bits             bits
	via              string // the view, table or function on the way; "" for the table's own ACL
	by               int32  // that relation's place among the tables of the database, or -1
	owner, schema    uint32 // of what is on the way
	need             bits   // on the relation on the way, for byRule
	isTable          bool   // what is on the way is one, of which this is a partition or child
}

// foldACL joins what aclexplode lists item by item.
func foldACL(grantees, grantors []uint32, privileges []string, grantable []bool) ([]entry, error) {
	if len(grantees) != len(grantors) || len(grantees) != len(privileges) || len(grantees) != len(grantable) {
		return nil, fmt.Errorf("an ACL of %d, %d, %d and %d items", len(grantees), len(grantors), len(privileges), len(grantable))
	}
	var out []entry
	for i := range grantees {
		b, ok := parsePrivilege(privileges[i])
		if !ok {
			b = 0
		}
		if grantable[i] {
			b |= b << optionShift
		}
		if n := len(out); n > 0 && out[n-1].grantee == grantees[i] && out[n-1].grantor == grantors[i] {
			out[n-1].bits |= b
			continue
		}
		out = append(out, entry{grantee: grantees[i], grantor: grantors[i], bits: b, by: -1})
	}
	return out, nil
}
