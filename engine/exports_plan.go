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

//export pcgo_validate_options
func pcgo_validate_options(object C.int32_t, list *C.pc_option, n C.int32_t, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		return C.PC_OK, run.ValidateOptions(byte(object), options(list, n))
	})
}

//export pcgo_check_driver
func pcgo_check_driver(driver *C.char, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		return C.PC_OK, run.CheckDriver(C.GoString(driver))
	})
}

//export pcgo_push
func pcgo_push(s *C.pc_source, t *C.pc_table, quals *C.pc_tree, reply *C.pc_push_reply, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		answers, failure := run.Push(source(s), table(t), tree(quals))
		if failure != nil {
			return 0, failure
		}
		*reply = C.pc_push_reply{nquals: C.int32_t(len(answers))}
		n := C.size_t(max(1, len(answers)))
		reply.push = (*C.uint8_t)(C.calloc(n, 1))
		reply.why = (**C.char)(C.calloc(n, C.size_t(unsafe.Sizeof(uintptr(0)))))
		push, why := unsafe.Slice(reply.push, len(answers)), unsafe.Slice(reply.why, len(answers))
		for i, a := range answers {
			if a.Pushed {
				push[i] = 1
			} else {
				why[i] = text(a.Why)
			}
		}
		return C.PC_OK, nil
	})
}

//export pcgo_import
func pcgo_import(r *C.pc_import_request, ticket *C.uint64_t, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		id, failure := e.Import(&run.ImportRequest{
			Source: source(r.source), RemoteSchema: C.GoString(r.remote_schema), LocalSchema: C.GoString(r.local_schema),
			ListKind: int(r.list_kind), Names: texts(r.names, r.nnames), Options: options(r.options, r.noptions),
		})
		*ticket = C.uint64_t(id)
		return C.PC_OK, failure
	})
}

//export pcgo_count
func pcgo_count(s *C.pc_source, t *C.pc_table, withColumns C.int32_t, ticket *C.uint64_t, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		id, failure := e.Count(source(s), table(t), withColumns != 0)
		*ticket = C.uint64_t(id)
		return C.PC_OK, failure
	})
}
