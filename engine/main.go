// Package main is the Go library that backends load: the functions of
// engine.h, each a thin shell around engine/run that copies C structs to Go
// values and back.
package main

/*
#include <stdlib.h>
#include "engine.h"
*/
import "C"

import (
	"strings"

	"portcullis.dev/portcullis/engine/mask"
	"portcullis.dev/portcullis/engine/run"
)

// engine is the library in this process: PostgreSQL's backends are
// processes, and C functions have no receiver.
var engine *run.Engine

// The layouts that engine/mask mirrors are those of the C compiler.
var (
	_ = [1]struct{}{}[mask.ColumnSize-C.sizeof_pc_column]
	_ = [1]struct{}{}[mask.BlockSize-C.sizeof_pc_block]
)

func main() {}

// guard makes the outcome of an export from what f returns. A panic must not
// leave an exported function; it becomes PC_FAILED.
func guard(err *C.pc_error, f func() (C.int32_t, error)) (rc C.int32_t) {
	defer func() {
		if value := recover(); value != nil {
			rc = fail(err, run.Panicked("call", value))
		}
	}()
	rc, failure := f()
	if failure != nil {
		return fail(err, failure)
	}
	return rc
}

// quietly runs an export that cannot report an error.
func quietly(f func()) {
	defer func() { _ = recover() }()
	f()
}

func fail(to *C.pc_error, failure error) C.int32_t {
	if to != nil {
		setError(to, run.AsError(failure))
	}
	return C.PC_FAILED
}

func setError(to *C.pc_error, e *run.Error) {
	*to = C.pc_error{}
	for i := 0; i < len(e.State) && i < 5; i++ {
		to.sqlstate[i] = C.char(e.State[i])
	}
	to.message = text(e.Message)
	if e.Detail != "" {
		to.detail = text(e.Detail)
	}
	if e.Hint != "" {
		to.hint = text(e.Hint)
	}
}

// text makes a C string for PostgreSQL: valid UTF-8 without NUL, whatever a
// driver said.
func text(s string) *C.char {
	return C.CString(strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?"))
}

// started refuses calls before pc_start.
func started() (*run.Engine, error) {
	if engine == nil {
		return nil, &run.Error{State: "XX000", Message: "the portcullis library is not started"}
	}
	return engine, nil
}
