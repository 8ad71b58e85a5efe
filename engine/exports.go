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
)

// wholeBytes is what drivers that keep whole results may keep of one. Pages are for
// more: they took 1.3 times as long for a million rows at MariaDB (docs/benchmarks.md).
const wholeBytes = 128 << 20

//export pcgo_start
func pcgo_start(args *C.pc_start_args, eventFD *C.int32_t, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		if engine != nil {
			return 0, &run.Error{State: "XX000", Message: "the portcullis library is started already"}
		}
		e, failure := run.Start(run.Config{
			PGMajor: int(args.pg_major), MaxProcs: int(args.go_max_procs),
			MemoryLimit: int64(args.memory_limit), BlockBytes: int64(args.block_bytes), WholeBytes: wholeBytes,
			Idle: time.Duration(args.idle_seconds) * time.Second, MaxAbandoned: int(args.max_abandoned),
			FileFolder: C.GoString(args.file_folder), KeyFile: C.GoString(args.key_file), CAFile: C.GoString(args.ca_file),
			AllowedHosts: C.GoString(args.allowed_hosts),
		})
		if failure != nil {
			return 0, failure
		}
		engine = e
		*eventFD = C.int32_t(e.EventFD())
		return C.PC_OK, nil
	})
}

//export pcgo_stop
func pcgo_stop() {
	quietly(func() {
		if engine != nil {
			engine.Stop()
		}
	})
}

//export pcgo_transaction_end
func pcgo_transaction_end(committed C.int32_t) {
	quietly(func() {
		if engine != nil {
			engine.TransactionEnd(committed != 0)
		}
	})
}

//export pcgo_source_changed
func pcgo_source_changed(object C.int32_t, hash C.uint32_t) {
	quietly(func() {
		if engine != nil {
			engine.SourceChanged(byte(object), uint32(hash))
		}
	})
}

//export pcgo_disconnect
func pcgo_disconnect(server C.uint32_t) (closed C.int32_t) {
	quietly(func() {
		if engine != nil {
			closed = C.int32_t(engine.Disconnect(uint32(server)))
		}
	})
	return closed
}

//export pcgo_connections
func pcgo_connections(rows *C.pc_rows, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		setRows(rows, e.Connections())
		return C.PC_OK, nil
	})
}

//export pcgo_ticket_result
func pcgo_ticket_result(ticket C.uint64_t, rows *C.pc_rows, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		found, done, failure := e.TicketResult(uint64(ticket))
		if failure != nil {
			return 0, failure
		}
		if !done {
			return C.PC_WAIT, nil
		}
		setRows(rows, found)
		return C.PC_OK, nil
	})
}

//export pcgo_ticket_cancel
func pcgo_ticket_cancel(ticket C.uint64_t) {
	quietly(func() {
		if engine != nil {
			engine.TicketCancel(uint64(ticket))
		}
	})
}

//export pcgo_seal
func pcgo_seal(secret *C.char, sealed **C.char, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		out, failure := e.Seal(C.GoString(secret))
		if failure != nil {
			return 0, failure
		}
		*sealed = C.CString(out)
		return C.PC_OK, nil
	})
}

//export pcgo_audit_record
func pcgo_audit_record(r *C.pc_audit_request, record **C.char, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		request := run.AuditRequest{
			Session: session(r.session), Kind: C.GoString(r.kind), RecordID: C.GoString(r.record_id),
			Statement: optional(r.statement), QueryID: int64(r.query_id),
			Rows: int64(r.rows), Bytes: int64(r.bytes), SQLState: optional(r.sqlstate), Message: optional(r.message),
			Tables: texts(r.tables, r.ntables),
		}
		for _, id := range unsafe.Slice(r.scans, int(r.nscans)) {
			request.Scans = append(request.Scans, uint64(id))
		}
		line, failure := e.AuditRecord(&request)
		if failure != nil {
			return 0, failure
		}
		*record = C.CString(string(line))
		return C.PC_OK, nil
	})
}

//export pcgo_fault
func pcgo_fault(kind C.int32_t, ticket *C.uint64_t, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		switch kind {
		case 'p':
			panic("fault asked for")
		case 'g':
			*ticket = C.uint64_t(e.Fault())
			return C.PC_OK, nil
		}
		return 0, &run.Error{State: "22023", Message: "unknown kind of fault"}
	})
}
