package odbc

// #include "fetch.h"
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unsafe"
)

// Error is what a driver, the driver manager or this package reports.
type Error struct {
	State   string // SQLSTATE
	Native  int    // the source's own code
	Message string // never holds a secret that was given to this package
	Driver  string
	Hint    string
	cause   error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s (SQLSTATE %s", e.Message, e.State)
	if e.Native != 0 {
		s += fmt.Sprintf(", native code %d", e.Native)
	}
	if e.Driver != "" {
		s += ", driver " + e.Driver
	}
	return s + ")"
}

// Unwrap gives ErrCancelled or the context's error for cancelled calls.
func (e *Error) Unwrap() error { return e.cause }

// ErrCancelled is wrapped by the error of every call that was cancelled.
var ErrCancelled = errors.New("cancelled")

func newError(state, format string, args ...any) *Error {
	return &Error{State: state, Message: fmt.Sprintf(format, args...)}
}

func cancelledError(driver string, cause error) *Error {
	if cause == nil {
		cause = ErrCancelled
	} else {
		cause = errors.Join(ErrCancelled, cause)
	}
	return &Error{State: "57014", Message: "the remote statement was cancelled", Driver: driver, cause: cause}
}

const maxDiagRecords = 8

// diagnose reads the diagnostics of a handle; what says what was tried.
func diagnose(kind C.SQLSMALLINT, h C.SQLHANDLE, wide bool, driver, what string) *Error {
	e := &Error{State: "HY000", Driver: driver}
	var texts []string
	for i := 1; i <= maxDiagRecords; i++ {
		state, native, text, ok := diagRecord(kind, h, i, wide)
		if !ok {
			break
		}
		if i == 1 {
			e.State, e.Native = state, native
		}
		texts = append(texts, strings.TrimSpace(text))
	}
	if len(texts) == 0 {
		texts = []string{what + " failed and the driver gave no reason"}
	}
	e.Message = strings.Join(texts, "; ")
	return e
}

func diagRecord(kind C.SQLSMALLINT, h C.SQLHANDLE, i int, wide bool) (state string, native int, text string, ok bool) {
	if !wide {
		return diagRecordNarrow(kind, h, i)
	}
	var st [6]C.SQLWCHAR
	var nat C.SQLINTEGER
	var n C.SQLSMALLINT
	buf := make([]C.SQLWCHAR, 1024)
	for range 2 {
		rc := C.SQLGetDiagRecW(kind, h, C.SQLSMALLINT(i), &st[0], &nat, &buf[0], C.SQLSMALLINT(len(buf)), &n)
		if rc != C.SQL_SUCCESS && rc != C.SQL_SUCCESS_WITH_INFO {
			return "", 0, "", false
		}
		if int(n) < len(buf) || n >= 32000 {
			break
		}
		buf = make([]C.SQLWCHAR, int(n)+1)
	}
	return fromUTF16(st[:5]), int(nat), fromUTF16(buf[:min(int(n), len(buf)-1)]), true
}

func diagRecordNarrow(kind C.SQLSMALLINT, h C.SQLHANDLE, i int) (state string, native int, text string, ok bool) {
	var st [6]C.SQLCHAR
	var nat C.SQLINTEGER
	var n C.SQLSMALLINT
	buf := make([]C.SQLCHAR, 4096)
	rc := C.SQLGetDiagRec(kind, h, C.SQLSMALLINT(i), &st[0], &nat, &buf[0], C.SQLSMALLINT(len(buf)), &n)
	if rc != C.SQL_SUCCESS && rc != C.SQL_SUCCESS_WITH_INFO {
		return "", 0, "", false
	}
	text = C.GoStringN((*C.char)(unsafe.Pointer(&buf[0])), C.int(min(int(n), len(buf)-1)))
	return C.GoStringN((*C.char)(unsafe.Pointer(&st[0])), 5), int(nat), strings.ToValidUTF8(text, "?"), true
}

func fromUTF16(w []C.SQLWCHAR) string {
	u := make([]uint16, 0, len(w))
	for _, c := range w {
		if c == 0 {
			break
		}
		u = append(u, uint16(c))
	}
	return string(utf16.Decode(u))
}
