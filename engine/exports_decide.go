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

//export pcgo_decide
func pcgo_decide(s *C.pc_session, dataSources **C.char, n C.int32_t, ticket *C.uint64_t, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		id, failure := e.Decide(session(s), texts(dataSources, n))
		if failure != nil {
			return 0, failure
		}
		*ticket = C.uint64_t(id)
		return C.PC_OK, nil
	})
}

//export pcgo_decide_result
func pcgo_decide_result(ticket C.uint64_t, out *C.pc_decision, n C.int32_t, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		answers, done, failure := e.DecideResult(uint64(ticket))
		if failure != nil {
			return 0, failure
		}
		if !done {
			return C.PC_WAIT, nil
		}
		if len(answers) != int(n) {
			return 0, &run.Error{State: "XX000", Message: "the ticket holds another number of decisions"}
		}
		slots := unsafe.Slice(out, int(n))
		for i, a := range answers {
			slots[i] = C.pc_decision{
				id: C.uint64_t(a.ID), digest: C.uint64_t(a.Digest),
				max_statements: C.int32_t(a.MaxStatements), limit_key: C.uint64_t(a.LimitKey),
			}
			if a.Allowed {
				slots[i].allowed = 1
			}
			if a.Denial != nil {
				setError(&slots[i].denial, a.Denial)
			}
		}
		return C.PC_OK, nil
	})
}

//export pcgo_too_many
func pcgo_too_many(decision C.uint64_t, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		return 0, e.TooMany(uint64(decision))
	})
}

//export pcgo_service_call
func pcgo_service_call(s *C.pc_session, method, path, body *C.char, ticket *C.uint64_t, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		*ticket = C.uint64_t(e.ServiceCall(session(s), C.GoString(method), C.GoString(path), C.GoString(body)))
		return C.PC_OK, nil
	})
}
