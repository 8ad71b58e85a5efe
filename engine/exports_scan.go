package main

/*
#include <stdlib.h>
#include "engine.h"
*/
import "C"

import (
	"unsafe"

	"portcullis.dev/portcullis/engine/run"
)

//export pcgo_scan_begin
func pcgo_scan_begin(r *C.pc_scan_request, scan *C.uint64_t, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		request := run.ScanRequest{
			Session: session(r.session), Source: source(r.source), Table: table(r.table),
			ExplainOnly: r.explain_only != 0, Quals: tree(r.quals), Decision: uint64(r.decision),
			Limit: int64(r.limit), QueryID: int64(r.query_id),
		}
		for _, attnum := range unsafe.Slice(r.wanted, int(r.nwanted)) {
			request.Wanted = append(request.Wanted, int32(attnum))
		}
		id, failure := e.ScanBegin(&request)
		if failure != nil {
			return 0, failure
		}
		*scan = C.uint64_t(id)
		return C.PC_OK, nil
	})
}

// scanSQL holds the C copies that pc_scan_sql gave out, until their scans end.
var scanSQL = map[uint64]*C.char{}

//export pcgo_scan_sql
func pcgo_scan_sql(scan C.uint64_t) (sql *C.char) {
	quietly(func() {
		id := uint64(scan)
		if given, ok := scanSQL[id]; ok {
			sql = given
			return
		}
		if engine == nil {
			return
		}
		if shown, ok := engine.ScanSQL(id); ok {
			sql = text(shown)
			scanSQL[id] = sql
		}
	})
	return sql
}

//export pcgo_scan_start
func pcgo_scan_start(scan C.uint64_t, params *C.pc_param, n C.int32_t, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		values := make([]*string, 0, int(n))
		for _, p := range unsafe.Slice(params, int(n)) {
			values = append(values, optional(p.text))
		}
		return C.PC_OK, e.ScanStart(uint64(scan), values)
	})
}

//export pcgo_scan_next
func pcgo_scan_next(scan C.uint64_t, block **C.pc_block, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		*block = nil
		found, state, failure := e.ScanNext(uint64(scan))
		if failure != nil {
			return 0, failure
		}
		switch state {
		case run.ScanWaits:
			return C.PC_WAIT, nil
		case run.ScanEnded:
			return C.PC_END, nil
		}
		*block = (*C.pc_block)(found)
		return C.PC_OK, nil
	})
}

//export pcgo_scan_end
func pcgo_scan_end(scan C.uint64_t, stats *C.pc_scan_stats) {
	quietly(func() {
		id := uint64(scan)
		if sql, ok := scanSQL[id]; ok {
			C.free(unsafe.Pointer(sql))
			delete(scanSQL, id)
		}
		if engine == nil {
			return
		}
		rows, bytes := engine.ScanEnd(id)
		if stats != nil {
			*stats = C.pc_scan_stats{rows: C.int64_t(rows), bytes: C.int64_t(bytes)}
		}
	})
}
