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

//export pcgo_decide_cached
func pcgo_decide_cached(s *C.pc_session, dataSources **C.char, n C.int32_t, ticket *C.uint64_t, keys *C.uint8_t, err *C.pc_error) C.int32_t {
	return guard(err, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		who, names := session(s), texts(dataSources, n)
		id, complete, failure := e.DecideCached(who, names)
		if failure != nil {
			return 0, failure
		}
		if complete {
			*ticket = C.uint64_t(id)
			return C.PC_OK, nil
		}
		if keys != nil {
			room := unsafe.Slice((*byte)(keys), (int(n)+1)*run.KeySize)
			for i, key := range run.DecisionKeys(who, names) {
				copy(room[i*run.KeySize:], key[:])
			}
		}
		return C.PC_END, nil
	})
}

//export pcgo_decide_offer
func pcgo_decide_offer(s *C.pc_session, dataSource, bytes *C.char, length C.int32_t, maxAgeMS C.int64_t) C.int32_t {
	return guard(nil, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		if !e.DecideOffer(session(s), C.GoString(dataSource), C.GoBytes(unsafe.Pointer(bytes), C.int(length)), time.Duration(maxAgeMS)*time.Millisecond) {
			return C.PC_END, nil
		}
		return C.PC_OK, nil
	})
}

//export pcgo_decide_encoded
func pcgo_decide_encoded(s *C.pc_session, dataSource *C.char, bytes **C.char, length *C.int32_t, maxAgeMS *C.int64_t) C.int32_t {
	return guard(nil, func() (C.int32_t, error) {
		e, failure := started()
		if failure != nil {
			return 0, failure
		}
		encoded, maxAge := e.DecideEncoded(session(s), C.GoString(dataSource))
		if encoded == nil {
			return C.PC_END, nil
		}
		*bytes, *length, *maxAgeMS = (*C.char)(C.CBytes(encoded)), C.int32_t(len(encoded)), C.int64_t(maxAge.Milliseconds())
		return C.PC_OK, nil
	})
}

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
