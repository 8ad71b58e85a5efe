package grants

import (
	"fmt"
	"testing"

	"portcullis.dev/portcullis/connection"
)

// BenchmarkCompare works out verdicts and difference of 10,000 people on 100,000
// tables with 500 sets, everything granted: what a round costs beside reading.
func BenchmarkCompare(b *testing.B) {
	const people, tables, schemas, sets = 10_000, 100_000, 100, 500
	target := connection.Target{Prefix: "portcullis_", Mode: connection.ModeGrantor}
	var want connection.Want
	refs := make([]connection.ObjectRef, tables)
	for i := range refs {
		refs[i] = connection.ObjectRef{Database: "d", OID: uint32(100_000 + i), Schema: fmt.Sprintf("s%d", i%schemas), Name: fmt.Sprintf("t%d", i)}
	}
	want.Managed = refs
	roles := []role{{oid: 1, name: "account", login: true, inherit: true, createRole: true}, {oid: 2, name: "dba", login: true, super: true}}
	for i := range people {
		name := fmt.Sprintf("p%d", i)
		want.Accounts = append(want.Accounts, connection.Account{Person: name, Role: name})
		roles = append(roles, role{oid: uint32(1000 + i), name: name, login: true, inherit: true})
	}
	for s := range sets {
		as := connection.AccessSet{ID: fmt.Sprint(s), Access: connection.Read}
		for i := s; i < tables; i += sets / 2 {
			as.Tables = append(as.Tables, refs[i])
		}
		for i := range people {
			if (i*7+s)%100 == 0 {
				as.Members = append(as.Members, want.Accounts[i].Role)
			}
		}
		want.Sets = append(want.Sets, as)
	}
	b.ReportAllocs()
	for b.Loop() {
		w, err := number(want, target.Prefix)
		if err != nil {
			b.Fatal(err)
		}
		d := w.databases[0]
		d.oid, d.owner, d.schemas, d.acl = 5, 2, map[uint32]*schema{}, []entry{{grantee: 0, grantor: 2, bits: canSelect, by: -1}}
		for s := range schemas {
			d.schemas[uint32(10+s)] = &schema{oid: uint32(10 + s), owner: 2, name: fmt.Sprintf("s%d", s), acl: []entry{{grantee: 0, grantor: 2, bits: canSelect, by: -1}}}
		}
		d.classes = make([]class, schemas)
		for i := range d.tables {
			k := &d.classes[i%schemas]
			k.owner, k.schema = 2, d.schemas[uint32(10+i%schemas)]
			k.acl = []entry{{grantee: 1, grantor: 2, bits: wordsOfWrite | wordsOfWrite<<optionShift, by: -1}}
			k.tables = append(k.tables, int32(i))
			d.tables[i].class = int32(i % schemas)
		}
		cat := &catalog{graph: newGraph(150000, roles, nil), account: 1}
		p := compare(target, cat, w, map[string]MadeRole{}, nil)
		if len(p.changes()) == 0 {
			b.Fatal("nothing to do")
		}
		evaluate(&view{cat: cat, want: w}, target, 1000, nil)
	}
}
