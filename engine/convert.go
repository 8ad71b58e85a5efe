package main

/*
#include <stdlib.h>
#include "engine.h"
*/
import "C"

import (
	"time"
	"unsafe"

	"portcullis.dev/portcullis/engine/run"
	"portcullis.dev/portcullis/fdw"
)

func optional(s *C.char) *string {
	if s == nil {
		return nil
	}
	text := C.GoString(s)
	return &text
}

func options(list *C.pc_option, n C.int32_t) map[string]string {
	m := make(map[string]string, int(n))
	for _, o := range unsafe.Slice(list, int(n)) {
		m[C.GoString(o.name)] = C.GoString(o.value)
	}
	return m
}

func source(s *C.pc_source) *run.Source {
	return &run.Source{
		ServerOID: uint32(s.server_oid), MappingOID: uint32(s.mapping_oid), ServerName: C.GoString(s.server_name),
		ServerHash: uint32(s.server_hash), MappingHash: uint32(s.mapping_hash),
		Server: options(s.options, s.noptions), Mapping: options(s.mapping, s.nmapping),
	}
}

func table(t *C.pc_table) *fdw.Table {
	out := &fdw.Table{
		RelID: uint32(t.relid), LocalSchema: C.GoString(t.local_schema), LocalName: C.GoString(t.local_name),
		RemoteSchema: C.GoString(t.remote_schema), RemoteName: C.GoString(t.remote_name), DataSource: C.GoString(t.data_source),
	}
	for _, a := range unsafe.Slice(t.attributes, int(t.nattributes)) {
		out.Columns = append(out.Columns, fdw.TableColumn{
			Attnum: int32(a.attnum), TypeOID: uint32(a.type_oid), Typmod: int32(a.typmod), Collation: uint32(a.collation),
			Name: C.GoString(a.name), RemoteName: C.GoString(a.remote_name),
			TypeName: C.GoString(a.type_name), BaseType: C.GoString(a.base_type),
			NotNull: a.not_null != 0, CollationKind: byte(a.collation_kind),
		})
	}
	return out
}

func tree(t *C.pc_tree) fdw.Tree {
	if t == nil || t.text == nil {
		return fdw.Tree{}
	}
	out := fdw.Tree{Text: C.GoString(t.text)}
	for _, c := range unsafe.Slice(t.consts, int(t.nconsts)) {
		out.Consts = append(out.Consts, optional(c))
	}
	for _, f := range unsafe.Slice(t.facts, int(t.nfacts)) {
		out.Facts = append(out.Facts, fdw.ObjectFact{Kind: byte(f.kind), Fact: fdw.Fact{
			OID: uint32(f.oid), Schema: C.GoString(f.schema), Name: C.GoString(f.name),
			Left: uint32(f.left), Right: uint32(f.right), Result: uint32(f.result),
			Volatility: byte(f.volatility), Strict: f.strict != 0, Leakproof: f.leakproof != 0,
		}})
	}
	return out
}

func session(s *C.pc_session) *run.Session {
	out := &run.Session{
		RoleOID: uint32(s.role_oid), PID: int(s.pid), Governed: s.governed != 0,
		Lease: time.Duration(s.lease_ms) * time.Millisecond, Start: int64(s.session_start), Epoch: uint64(s.epoch),
		Role: C.GoString(s.role), Database: C.GoString(s.database),
		ClientAddress: C.GoString(s.client_address), Application: C.GoString(s.application),
		Node: C.GoString(s.node), ServiceURL: C.GoString(s.service_url), Token: C.GoString(s.token),
	}
	if s.impersonation_iamid != nil || s.impersonation_userid != nil {
		out.Impersonate = &run.Impersonation{IAMID: C.GoString(s.impersonation_iamid), UserID: C.GoString(s.impersonation_userid)}
	}
	return out
}

func texts(list **C.char, n C.int32_t) []string {
	out := make([]string, 0, int(n))
	for _, s := range unsafe.Slice(list, int(n)) {
		out = append(out, C.GoString(s))
	}
	return out
}

// setRows gives rows to C: cells in one array, each a string of its own.
func setRows(to *C.pc_rows, rows run.Rows) {
	*to = C.pc_rows{}
	if len(rows) == 0 {
		return
	}
	width := 0
	for _, r := range rows {
		width = max(width, len(r))
	}
	pointer := C.size_t(unsafe.Sizeof(uintptr(0)))
	cells := (**C.char)(C.calloc(C.size_t(max(1, len(rows)*width)), pointer))
	to.nrows, to.ncols, to.cells = C.int64_t(len(rows)), C.int32_t(width), cells
	array := unsafe.Slice(cells, len(rows)*width)
	for i, r := range rows {
		for j, cell := range r {
			if cell != nil {
				array[i*width+j] = text(*cell)
			}
		}
	}
}
