package odbc

// #include <stdlib.h>
// #include <string.h>
// #include "fetch.h"
import "C"

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// sqlText is a statement as the driver takes it.
type sqlText struct {
	wide bool
	u16  []uint16
	u8   []byte
}

func (c *Conn) text(sql string) (sqlText, error) {
	if !utf8.ValidString(sql) || strings.IndexByte(sql, 0) >= 0 {
		return sqlText{}, newError("22021", "the statement is not valid UTF-8 or holds a NUL byte")
	}
	if c.lib.wide {
		return sqlText{wide: true, u16: append(utf16.Encode([]rune(sql)), 0)}, nil
	}
	return sqlText{u8: append([]byte(sql), 0)}, nil
}

func (t sqlText) args() (C.int, unsafe.Pointer, C.int32_t) {
	if t.wide {
		return 1, unsafe.Pointer(&t.u16[0]), C.int32_t(len(t.u16) - 1)
	}
	return 0, unsafe.Pointer(&t.u8[0]), C.int32_t(len(t.u8) - 1)
}

// call runs one call on a statement and turns failure into its diagnostics.
func (s *stmt) call(ctx context.Context, p phase, what string, f func() C.SQLRETURN) error {
	return s.c.do(ctx, s, p, func() int64 { return int64(f()) }, func(rc int64) error {
		if ok(rc) || rc == C.SQL_NO_DATA {
			return nil
		}
		return s.diagnose(what)
	})
}

func (s *stmt) diagnose(what string) *Error {
	return s.c.note(diagnose(C.SQL_HANDLE_STMT, s.handle, s.c.lib.wide, s.c.spec.Driver, what))
}

// execute runs the statement.
func (s *stmt) execute(ctx context.Context, sql string, params []Param) (err error) {
	for i := range params {
		if err := s.checkParam(i, &params[i]); err != nil {
			return err
		}
	}
	if err := s.c.takes(ctx, sql, params); err != nil {
		return err
	}
	if len(params) > 0 && s.c.lib.traits.literals {
		if sql, err = withLiterals(sql, params); err != nil {
			return err
		}
		params = nil
	}
	if s.c.quiet {
		params = floatsAsText(params)
	}
	text, err := s.c.text(sql)
	if err != nil {
		return err
	}
	wide, p, n := text.args()
	bound, err := s.pack(params)
	if err != nil {
		return err
	}
	return s.call(ctx, phaseExecute, "executing", func() C.SQLRETURN {
		return C.pc_execute(C.SQLHSTMT(s.handle), wide, p, n, bound, C.int32_t(len(params)))
	})
}

// floatsAsText is for versions that write values into the statement: they
// write doubles with six digits.
func floatsAsText(params []Param) []Param {
	out := slices.Clone(params)
	for i, p := range out {
		if p.Type == ParamFloat {
			out[i] = Param{Type: ParamText, Null: p.Null, Text: strconv.FormatFloat(p.Float, 'e', -1, 64)}
		}
	}
	return out
}

// askFrom, in bytes: shorter statements are sent without asking, since
// MariaDB's limit is 1 MB or more wherever nobody made it smaller.
const askFrom = 256 << 10

// TooLong is the state of a statement that takes refused; no source gives it.
const TooLong = "54M00"

// takes refuses a statement whose length would end the session.
func (c *Conn) takes(ctx context.Context, sql string, params []Param) error {
	if c.lib.traits.longestSQL == "" {
		return nil
	}
	size := len(sql)
	for i := range params {
		size += max(8, len(params[i].Text), len(params[i].Bytes)) + paramOverhead
		if c.quiet { // such versions write values into the statement
			size += escapes(params[i].Text) + escapes(params[i].Bytes)
		}
	}
	if size < askFrom {
		return nil
	}
	rows, err := c.QueryStrings(ctx, c.lib.traits.longestSQL, nil)
	if err != nil {
		return err
	}
	longest := 0
	if len(rows) != 1 || rows[0][0] == nil {
		return nil // another DBMS behind the same driver
	}
	if _, err := fmt.Sscan(*rows[0][0], &longest); err != nil {
		return nil
	}
	if size <= longest {
		return nil
	}
	return &Error{State: TooLong, Driver: c.spec.Driver,
		Message: fmt.Sprintf("the statement has %d bytes with its values, and this source takes %d at most", size, longest)}
}

// escapes counts the bytes before which libmariadb puts another one when it
// writes a value into a statement.
func escapes[T string | []byte](value T) (n int) {
	for i := range len(value) {
		switch value[i] {
		case 0, '\n', '\r', 0x1a, '"', '\'', '\\':
			n++
		}
	}
	return n
}

// paramOverhead is more than what the protocol puts around a value.
const paramOverhead = 16

// pack lays parameters out in memory of C, which lives as long as the statement.
func (s *stmt) pack(params []Param) (*C.pc_param, error) {
	if len(params) == 0 {
		return nil, nil
	}
	size := len(params) * int(unsafe.Sizeof(C.pc_param{}))
	data := size
	for i := range params {
		size += (max(8, len(params[i].Text)+1, len(params[i].Bytes)) + 7) &^ 7
	}
	mem := C.calloc(1, C.size_t(size))
	if mem == nil {
		return nil, newError("HY001", "out of memory for %d parameters", len(params))
	}
	s.atRelease(func() { C.free(mem) })
	out := unsafe.Slice((*C.pc_param)(mem), len(params))
	for i := range params {
		at := unsafe.Add(mem, data)
		room := (max(8, len(params[i].Text)+1, len(params[i].Bytes)) + 7) &^ 7
		fill(&out[i], &params[i], at, unsafe.Slice((*byte)(at), room))
		data += room
	}
	return (*C.pc_param)(mem), nil
}

func (s *stmt) checkParam(i int, p *Param) error {
	switch p.Type {
	case ParamFloat:
		if !p.Null && !s.c.lib.traits.takesFloat(p.Float) {
			return &Error{State: "22003", Message: "parameter " + itoa(i+1) + " is NaN or infinite, which this driver changes", Driver: s.c.spec.Driver}
		}
	case ParamInt, ParamBool, ParamBytes:
	case ParamText, ParamNumeric, ParamDate, ParamTime, ParamTimestamp:
		if strings.IndexByte(p.Text, 0) >= 0 || !utf8.ValidString(p.Text) {
			return newError("22021", "parameter %d is not valid UTF-8 or holds a NUL byte", i+1)
		}
	default:
		return newError("HY004", "parameter %d has the unknown type %d", i+1, p.Type)
	}
	return nil
}

// longText is where drivers begin to want a long type for character parameters.
const longText = 8000

func fill(out *C.pc_param, p *Param, at unsafe.Pointer, mem []byte) {
	out.data = at
	switch p.Type {
	case ParamInt:
		out.ctype, out.sqltype, out.size, out.len = C.SQL_C_SBIGINT, C.SQL_BIGINT, 19, 8
		*(*int64)(at) = p.Int
	case ParamFloat:
		out.ctype, out.sqltype, out.size, out.len = C.SQL_C_DOUBLE, C.SQL_DOUBLE, 15, 8
		*(*uint64)(at) = math.Float64bits(p.Float)
	case ParamBool:
		out.ctype, out.sqltype, out.size, out.len = C.SQL_C_BIT, C.SQL_BIT, 1, 1
		if p.Int != 0 {
			mem[0] = 1
		}
	case ParamBytes:
		out.ctype, out.sqltype = C.SQL_C_BINARY, C.SQL_VARBINARY
		if len(p.Bytes) > longText {
			out.sqltype = C.SQL_LONGVARBINARY
		}
		out.size, out.len = C.int64_t(max(1, len(p.Bytes))), C.int64_t(len(p.Bytes))
		copy(mem, p.Bytes)
	default:
		out.ctype, out.sqltype = C.SQL_C_CHAR, C.SQL_VARCHAR
		if len(p.Text) > longText {
			out.sqltype = C.SQL_LONGVARCHAR
		}
		out.size, out.len = C.int64_t(max(1, len(p.Text))), C.int64_t(len(p.Text))
		copy(mem, p.Text)
	}
	if p.Null {
		out.len = C.SQL_NULL_DATA
	}
}

// Exec runs a statement for its effect: session set-up. Results are discarded.
func (c *Conn) Exec(ctx context.Context, sql string) error {
	s, err := c.newStmt(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	stop := context.AfterFunc(ctx, func() { s.cancel(context.Cause(ctx)) })
	defer stop()
	if c.passesDriver() {
		return s.execInSQLite(ctx, sql)
	}
	if err := s.execute(ctx, sql, nil); err != nil {
		return err
	}
	for more := true; more; {
		if more, err = s.moreResults(ctx); err != nil {
			return err
		}
	}
	return nil
}

// moreResults goes to the next result; whatever is neither success nor "no more" is an error.
func (s *stmt) moreResults(ctx context.Context) (bool, error) {
	more := false
	err := s.call(ctx, phaseFetch, "going to the next result", func() C.SQLRETURN {
		rc := C.SQLMoreResults(C.SQLHSTMT(s.handle))
		more = ok(int64(rc))
		return rc
	})
	return more && err == nil, err
}
