package run

import (
	"errors"
	"io"
	"time"

	"portcullis.dev/portcullis/engine/mask"
	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/odbc"
)

// pages reads a large table in pages, since its driver keeps the whole result
// of a statement in memory. While the rows of a page are on their way to the
// executor the source works on the next one. All pages are one statement to the rest
// of the engine: they run in one remote transaction, under one description.
type pages struct {
	f       *fetch
	conn    *odbc.Conn
	reading *reading

	cursor *odbc.Cursor // nil: its rows are all read
	next   chan page    // brings the page that is being executed; nil: none is
	rows   int          // that the page may have
	got    int          // that it had so far
	bytes  int64        // that they hold
	ended  bool
}

type page struct {
	cursor *odbc.Cursor
	err    error
}

// What a page may hold: so much as this many blocks may. It has at most pageGrowth
// times the rows of the one before, whose width may not be that of the next.
const (
	pageBlocks = 2
	pageGrowth = 4
	// The first page has no more than so many rows: their width at the source may be
	// unknown, or what it was before the table was filled.
	firstPage = 2000
)

// rowOverhead is what the driver's library keeps of a row beside its values, bytes.
const rowOverhead = 48

// wholeFor is how long a table is not asked about again, once it was found too
// small for pages, or to have no key for them.
const wholeFor = 10 * time.Second

// pageKey asks the source for the key to read the scan's table in pages by; nil:
// it is read as a whole. An error here is no error of the scan: what is behind
// it, the statement itself finds.
func (f *fetch) pageKey(r *remote) *fdw.PageKey {
	s, e := f.scan, f.scan.engine
	d, can := s.dialect.(fdw.Paged)
	statement := s.reading.Load().statement
	if !can || !statement.Pageable || e.isWhole(s.relation()) {
		return nil
	}
	plan, err := r.conn.QueryStrings(f.ctx, d.PlanSQL(statement.SQL), f.params)
	rows, small := d.InPages(plan)
	var key *fdw.PageKey
	if err == nil && rows > 0 {
		key, err = d.PageKey(f.ctx, querier{r, s.source}, s.table)
	}
	switch {
	case err == nil && key != nil && (key.RowBytes == 0 || rows*int64(key.RowBytes+rowOverhead) > e.cfg.WholeBytes):
		return key
	case lost(err) || f.ctx.Err() != nil:
	case err != nil, small, rows > 0: // a view's plan is not for everybody who may read it
		e.setWhole(s.relation())
	}
	return nil
}

func (e *Engine) isWhole(r relation) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	since, known := e.whole[r]
	return known && time.Since(since) < wholeFor
}

func (e *Engine) setWhole(r relation) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.whole[r] = time.Now()
}

// inPages is how the scan reads in pages by the key; nil: as a whole. What is
// recorded of the scan stays the statement as a whole.
func (s *Scan) inPages(key *fdw.PageKey) (*reading, error) {
	if key == nil {
		return s.reading.Load(), nil
	}
	request := s.request
	request.Page, request.Indirect = key, s.engine.indirect(s.relation())
	return s.read(request)
}

// openPages executes the first page.
func (f *fetch) openPages(conn *odbc.Conn, r *reading, key *fdw.PageKey) (*pages, bool, error) {
	p := &pages{f: f, conn: conn, reading: r}
	p.rows = min(p.room(key.RowBytes), firstPage)
	cursor, fit, err := f.query(conn, r, r.statement.Pages.PageSQL(true, p.rows), f.params)
	p.cursor = cursor
	return p, fit, err
}

// room is how many rows of so many bytes a page may have.
func (p *pages) room(rowBytes int) int {
	return max(1, pageBlocks*int(p.f.scan.engine.cfg.BlockBytes)/(rowBytes+rowOverhead))
}

// Next returns the next block of any page, io.EOF after the last.
func (p *pages) Next() (*odbc.Block, error) {
	if p.ended {
		return nil, io.EOF
	}
	if p.cursor == nil {
		if err := p.turn(); err != nil {
			return nil, err
		}
	}
	block, err := p.cursor.Next()
	if err != nil {
		p.ended = errors.Is(err, io.EOF) // before the page was full
		return nil, err
	}
	p.got += block.Rows()
	p.bytes += mask.Size(block.C())
	if p.got >= p.rows {
		if err := p.begin(block); err != nil {
			block.Release()
			return nil, err
		}
	}
	return block, nil
}

// NearEnd tells that the last page is not full and has no more rows.
func (p *pages) NearEnd() bool { return p.ended || p.cursor != nil && p.cursor.NearEnd() }

// begin has the page executed that follows the last row of the block.
func (p *pages) begin(block *odbc.Block) error {
	s := p.f.scan
	p.cursor.Close() // or two pages lie in memory
	p.cursor = nil
	after, ok := p.reading.statement.Pages.After(lastRow{block})
	if !ok {
		return &Error{State: stateFDW, Message: "server \"" + s.source.ServerName + "\" returned a row without its primary key"}
	}
	params := append([]odbc.Param{}, p.f.params...)
	for _, v := range after {
		params = append(params, param(v))
	}
	p.rows = min(p.room(int(p.bytes)/p.got), pageGrowth*p.rows)
	p.got, p.bytes = 0, 0
	sql := p.reading.statement.Pages.PageSQL(false, p.rows)
	next := make(chan page, 1)
	p.next = next
	s.engine.Go("page of a remote table", func(err error) { next <- page{err: err} }, func() {
		if p.f.isStopped() {
			next <- page{err: io.EOF} // nobody reads on
			return
		}
		cursor, fit, err := p.f.query(p.conn, p.reading, sql, params)
		if err == nil && !fit { // which the transaction's hold on the table excludes
			err = &Error{State: stateInternal, Message: "a page of a remote table has other columns than the one before"}
		}
		next <- page{cursor, err}
	})
	return nil
}

// turn waits for the page that is being executed.
func (p *pages) turn() error {
	if p.next == nil {
		return io.EOF
	}
	next := <-p.next
	p.next = nil
	p.cursor = next.cursor
	return next.err
}

// Close waits for a page that is being executed: the connection is the
// scan's until it returns. Whoever gave the scan up cancels it in time.
func (p *pages) Close() {
	if p.next != nil {
		_ = p.turn()
	}
	if p.cursor != nil {
		p.cursor.Close()
	}
	p.ended = true
}

// lastRow reads the key of a block's last row.
type lastRow struct{ block *odbc.Block }

func (r lastRow) Int64(column int) (int64, bool) {
	at := r.block.Rows() - 1
	if r.block.Kind(column) != odbc.KindInt64 || r.block.IsNull(column, at) {
		return 0, false
	}
	return r.block.Int64(column, at), true
}

func (r lastRow) Text(column int) (string, bool) {
	at := r.block.Rows() - 1
	if r.block.Kind(column) != odbc.KindText || r.block.IsNull(column, at) {
		return "", false
	}
	return string(r.block.Bytes(column, at)), true
}
