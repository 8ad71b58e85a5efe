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
