package grants

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"portcullis.dev/portcullis/connection"
)

// wanted is a Want with its tables numbered by database.
type wanted struct {
	prefix    string
	accounts  []connection.Account
	people    map[string]string // person by role
	sets      []wantedSet
	databases []*database // in the order of first mention
	places    map[string]int
	parts     []wantedPart
}

// wantedPart is tables of which people may see a part only.
type wantedPart struct {
	tables   map[int]map[int32]bool // by database
	roles    []string
	policies []string
}

// wantedSet is an access set; its tables are numbers within their databases.
type wantedSet struct {
	id, role string
	access   connection.Access
	bits     bits
	tables   map[int][]int32
	members  []string
	rows     bool // they see some rows only
}

// RoleOf is the name of the role of ours that holds the grants of a set.
func RoleOf(prefix string, s connection.AccessSet) string { return setRole(prefix, s) }

// setRole is the name of a set's role. It tells nothing but the access: names
// of policies may be secrets, and may be of any length.
func setRole(prefix string, s connection.AccessSet) string {
	sum := sha256.Sum256([]byte(s.ID))
	return prefix + string(s.Access[0]) + "_" + hex.EncodeToString(sum[:12])
}

func schemaRole(prefix string, database, schema uint32) string {
	return fmt.Sprintf("%ss_%d_%d", prefix, database, schema)
}

func databaseRole(prefix string, database uint32) string {
	return fmt.Sprintf("%sd_%d", prefix, database)
}

func number(w connection.Want, prefix string) (*wanted, error) {
	out := &wanted{prefix: prefix, accounts: w.Accounts, people: map[string]string{}, places: map[string]int{}}
	for _, a := range w.Accounts {
		if other, ok := out.people[a.Role]; ok && other != a.Person {
			return nil, &connection.Error{Code: "account_shared", Message: fmt.Sprintf("role %q is mapped to two people", a.Role),
				Detail: other + " and " + a.Person, Hint: "Map one of them to a role of their own."}
		}
		out.people[a.Role] = a.Person
	}
	for _, t := range w.Managed {
		out.place(t)
	}
	for _, t := range w.Unenforceable {
		d, at := out.place(t)
		out.databases[d].tables[at].told = true
	}
	for _, p := range w.Parts {
		part := wantedPart{tables: map[int]map[int32]bool{}, roles: p.Roles, policies: p.Policies}
		for _, t := range p.Tables {
			d, at := out.place(t)
			if part.tables[d] == nil {
				part.tables[d] = map[int32]bool{}
			}
			part.tables[d][at] = true
		}
		out.parts = append(out.parts, part)
	}
	ids := map[string]string{}
	for _, s := range w.Sets {
		if s.Access != connection.Read && s.Access != connection.Write && s.Access != connection.WriteRows {
			return nil, fmt.Errorf("grants: set %s has the access %q", s.ID, s.Access)
		}
		ws := wantedSet{id: s.ID, role: setRole(prefix, s), access: s.Access, rows: s.Rows, tables: map[int][]int32{}}
		if other, ok := ids[ws.role]; ok {
			return nil, fmt.Errorf("grants: sets %s and %s have one role", other, s.ID)
		}
		ids[ws.role] = s.ID
		for _, p := range s.Access.Privileges() {
			b, _ := parsePrivilege(p)
			ws.bits |= b
		}
		for _, t := range s.Tables {
			d, at := out.place(t)
			ws.tables[d] = append(ws.tables[d], at)
			if s.Rows {
				out.databases[d].tables[at].rows = true
			}
		}
		for d := range ws.tables {
			slices.Sort(ws.tables[d])
			ws.tables[d] = slices.Compact(ws.tables[d])
		}
		ws.members = slices.Clone(s.Members)
		slices.Sort(ws.members)
		ws.members = slices.Compact(ws.members)
		out.sets = append(out.sets, ws)
	}
	return out, nil
}

// place numbers a table.
func (w *wanted) place(t connection.ObjectRef) (database int, at int32) {
	database = w.database(t.Database)
	d := w.databases[database]
	at, ok := d.byOID[t.OID]
	if !ok {
		at = int32(len(d.tables))
		d.byOID[t.OID] = at
		d.tables = append(d.tables, table{ref: t, class: -1})
	}
	return database, at
}

// database numbers a database, one without wanted tables too.
func (w *wanted) database(name string) int {
	at, ok := w.places[name]
	if !ok {
		at = len(w.databases)
		w.places[name] = at
		w.databases = append(w.databases, &database{databaseRow: databaseRow{name: name}, byOID: map[uint32]int32{}})
	}
	return at
}
