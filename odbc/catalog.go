package odbc

// #include "fetch.h"
import "C"

import (
	"context"
	"errors"
	"io"
	"unicode/utf16"
	"unsafe"
)

// QueryStrings reads a whole small result as text; nil means NULL.
func (c *Conn) QueryStrings(ctx context.Context, sql string, params []Param) ([][]*string, error) {
	cur, err := c.Query(ctx, sql, params, nil, QueryOptions{BlockRows: 200, BlockBytes: minBlockBytes})
	if err != nil {
		return nil, err
	}
	defer cur.Close()
	return cur.strings()
}

func (cur *Cursor) strings() ([][]*string, error) {
	var out [][]*string
	for {
		b, err := cur.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		for row := range b.Rows() {
			values := make([]*string, cur.ncols)
			for col := range values {
				if !b.IsNull(col, row) {
					s := string(b.Bytes(col, row))
					values[col] = &s
				}
			}
			out = append(out, values)
		}
		b.Release()
	}
}

// Describe prepares a statement and tells its columns without executing it.
func (c *Conn) Describe(ctx context.Context, sql string) ([]ResultColumn, error) {
	s, err := c.newStmt(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	stop := context.AfterFunc(ctx, func() { s.cancel(context.Cause(ctx)) })
	defer stop()
	text, err := c.text(sql)
	if err != nil {
		return nil, err
	}
	wide, p, n := text.args()
	var out []ResultColumn
	err = s.call(ctx, phaseExecute, "preparing", func() C.SQLRETURN {
		rc := C.pc_prepare(C.SQLHSTMT(s.handle), wide, p, n)
		if ok(int64(rc)) {
			out, rc = s.describe()
		}
		return rc
	})
	return out, err
}

func (s *stmt) describe() ([]ResultColumn, C.SQLRETURN) {
	h := C.SQLHSTMT(s.handle)
	var n C.SQLSMALLINT
	if rc := C.SQLNumResultCols(h, &n); !ok(int64(rc)) {
		return nil, rc
	}
	out := make([]ResultColumn, 0, n)
	for i := C.SQLUSMALLINT(1); i <= C.SQLUSMALLINT(n); i++ {
		var kind, digits, nullable C.SQLSMALLINT
		var size C.SQLULEN
		name, rc := s.describeColumn(i, &kind, &size, &digits, &nullable)
		if !ok(int64(rc)) {
			return nil, rc
		}
		var unsigned C.SQLLEN
		C.SQLColAttribute(h, i, C.SQL_DESC_UNSIGNED, nil, 0, nil, &unsigned)
		var typeName [256]C.SQLCHAR
		var length C.SQLSMALLINT
		C.SQLColAttribute(h, i, C.SQL_DESC_TYPE_NAME, C.SQLPOINTER(unsafe.Pointer(&typeName[0])), C.SQLSMALLINT(len(typeName)), &length, nil)
		out = append(out, ResultColumn{
			Name: name, SQLType: int(kind), Size: int64(size), Digits: int(digits),
			Nullable: nullable != C.SQL_NO_NULLS, Unsigned: unsigned == C.SQL_TRUE,
			TypeName: C.GoString((*C.char)(unsafe.Pointer(&typeName[0]))),
		})
	}
	return out, C.SQL_SUCCESS
}

func (s *stmt) describeColumn(i C.SQLUSMALLINT, kind *C.SQLSMALLINT, size *C.SQLULEN, digits, nullable *C.SQLSMALLINT) (string, C.SQLRETURN) {
	h := C.SQLHSTMT(s.handle)
	var n C.SQLSMALLINT
	if !s.c.lib.wide {
		var name [1024]C.SQLCHAR
		rc := C.SQLDescribeCol(h, i, &name[0], C.SQLSMALLINT(len(name)), &n, kind, size, digits, nullable)
		return C.GoString((*C.char)(unsafe.Pointer(&name[0]))), rc
	}
	var name [1024]C.SQLWCHAR
	rc := C.SQLDescribeColW(h, i, &name[0], C.SQLSMALLINT(len(name)), &n, kind, size, digits, nullable)
	return fromUTF16(name[:]), rc
}

// Tables is SQLTables: catalog, schema, name, type and remarks of each table
// that matches; empty patterns match all. The patterns know % and _.
func (c *Conn) Tables(ctx context.Context, schema, table, types string) ([][]*string, error) {
	return c.catalog(ctx, func(s *stmt) C.SQLRETURN {
		h := C.SQLHSTMT(s.handle)
		if !c.lib.wide {
			a, b, d := narrow(schema), narrow(table), narrow(types)
			return C.SQLTables(h, nil, 0, a.p, a.n, b.p, b.n, d.p, d.n)
		}
		a, b, d := wide(schema), wide(table), wide(types)
		return C.SQLTablesW(h, nil, 0, a.p, a.n, b.p, b.n, d.p, d.n)
	})
}

// Columns is SQLColumns, its 18 columns as the standard has them.
func (c *Conn) Columns(ctx context.Context, schema, table string) ([][]*string, error) {
	return c.catalog(ctx, func(s *stmt) C.SQLRETURN {
		h := C.SQLHSTMT(s.handle)
		if !c.lib.wide {
			a, b := narrow(schema), narrow(table)
			return C.SQLColumns(h, nil, 0, a.p, a.n, b.p, b.n, nil, 0)
		}
		a, b := wide(schema), wide(table)
		return C.SQLColumnsW(h, nil, 0, a.p, a.n, b.p, b.n, nil, 0)
	})
}

// PrimaryKeys is SQLPrimaryKeys of one table.
func (c *Conn) PrimaryKeys(ctx context.Context, schema, table string) ([][]*string, error) {
	return c.catalog(ctx, func(s *stmt) C.SQLRETURN {
		h := C.SQLHSTMT(s.handle)
		if !c.lib.wide {
			a, b := narrow(schema), narrow(table)
			return C.SQLPrimaryKeys(h, nil, 0, a.p, a.n, b.p, b.n)
		}
		a, b := wide(schema), wide(table)
		return C.SQLPrimaryKeysW(h, nil, 0, a.p, a.n, b.p, b.n)
	})
}

func (c *Conn) catalog(ctx context.Context, call func(*stmt) C.SQLRETURN) ([][]*string, error) {
	cur, err := c.open(ctx, nil, QueryOptions{BlockRows: 200, BlockBytes: minBlockBytes}, func(s *stmt) error {
		return s.call(ctx, phaseExecute, "reading the catalog", func() C.SQLRETURN { return call(s) })
	})
	if err != nil {
		return nil, err
	}
	defer cur.Close()
	return cur.strings()
}

type narrowArg struct {
	p *C.SQLCHAR
	n C.SQLSMALLINT
}

// An empty argument is NULL: no restriction.
func narrow(s string) narrowArg {
	if s == "" {
		return narrowArg{}
	}
	b := append([]byte(s), 0)
	return narrowArg{(*C.SQLCHAR)(unsafe.Pointer(&b[0])), C.SQLSMALLINT(len(b) - 1)}
}

type wideArg struct {
	p *C.SQLWCHAR
	n C.SQLSMALLINT
}

func wide(s string) wideArg {
	if s == "" {
		return wideArg{}
	}
	u := append(utf16.Encode([]rune(s)), 0)
	return wideArg{(*C.SQLWCHAR)(unsafe.Pointer(&u[0])), C.SQLSMALLINT(len(u) - 1)}
}
