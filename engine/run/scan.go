package run

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"unsafe"

	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/odbc"
)

// ScanRequest is what a scan is to bring (pc_scan_request).
type ScanRequest struct {
	Session     *Session
	Source      *Source
	Table       *fdw.Table
	Wanted      []int32 // attnums, in block column order
	ExplainOnly bool
	Quals       fdw.Tree
	Decision    uint64 // 0: ungoverned session
	Limit       int64  // -1: all rows
	QueryID     int64
}

// Scan is a scan of one foreign table. Its fields are used by the backend's
// thread; fetches only read what is set at its begin.
type Scan struct {
	engine  *Engine
	id      uint64
	source  *Source
	dialect fdw.Dialect
	table   *fdw.Table
	wanted  []int32
	held    *held // nil: ungoverned
	session *Session
	explain bool

	request fdw.ScanRequest
	reading atomic.Pointer[reading] // a fetch may replace it; the arguments of its statement stay

	fetch   *fetch
	current ready
	usage   *usage // nil: no limits
	over    error  // of a limit that the last block reached; comes next
	done    bool   // the rows have ended
	rows    int64
	bytes   int64
}

// ScanState says what ScanNext found.
type ScanState int

// The states of a scan.
const (
	ScanBlock ScanState = iota
	ScanWaits
	ScanEnded
)

// ScanBegin composes the remote statement; nothing is sent.
func (e *Engine) ScanBegin(r *ScanRequest) (uint64, error) {
	s := &Scan{engine: e, source: r.Source, table: r.Table, wanted: r.Wanted, explain: r.ExplainOnly}
	var err error
	if s.dialect, err = dialectOf(r.Source); err != nil {
		return 0, err
	}
	if err := s.govern(r); err != nil {
		return 0, err
	}
	if err := s.compose(r); err != nil {
		return 0, err
	}
	e.join(s, r.QueryID)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lastID++
	s.id = e.lastID
	e.scans[s.id] = s
	return s.id, nil
}

// govern finds the decision of a governed scan. A governed session never
// scans without one.
func (s *Scan) govern(r *ScanRequest) error {
	if r.Decision == 0 {
		if r.Session.Governed {
			return &Error{State: stateDenied, Message: fmt.Sprintf("permission denied for table %s", r.Table.LocalName),
				Detail: "No decision was made for this statement."}
		}
		return nil
	}
	held, err := s.engine.decisions.forScan(r.Decision, r.Session, r.Table.DataSource)
	if err != nil {
		return err
	}
	s.held, s.session = held, r.Session
	return matches(held.decision, r.Source, r.Table)
}

// veiled tells whether rows or values are hidden, so that nothing but what
// the decision shows may reach the person.
func (s *Scan) veiled() bool {
	return s.held != nil && (s.held.decision.Filter != nil || len(s.held.decision.Masks) > 0)
}

func (s *Scan) options(r *reading) odbc.QueryOptions {
	return odbc.QueryOptions{BlockBytes: int(s.engine.cfg.BlockBytes), Blocks: blocksAhead + 2, Told: r.statement.Told}
}

func (e *Engine) scan(id uint64) *Scan {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.scans[id]
}

func (e *Engine) knownScan(id uint64) (*Scan, error) {
	if s := e.scan(id); s != nil {
		return s, nil
	}
	return nil, &Error{State: stateInternal, Message: "the portcullis library knows no such scan"}
}

// ScanSQL is the remote statement, for EXPLAIN; none for governed scans.
func (e *Engine) ScanSQL(id uint64) (string, bool) {
	s := e.scan(id)
	if s == nil || s.held != nil {
		return "", false
	}
	statement := s.reading.Load().statement
	if statement.Pageable { // which only the source can tell
		return statement.SQL + " /* in pages, if the source would read much of the table and has a key for that */", true
	}
	return statement.SQL, true
}

// ScanStart executes the statement with the values of its parameters, anew
// after a rescan. It returns at once.
func (e *Engine) ScanStart(id uint64, params []*string) error {
	s, err := e.knownScan(id)
	if err != nil {
		return err
	}
	if s.explain {
		return &Error{State: stateInternal, Message: "a scan that was only explained was started"}
	}
	bound, err := s.bind(params)
	if err != nil {
		return err
	}
	prev := s.fetch
	if prev != nil {
		s.current.release(prev)
		prev.stop()
		select {
		case <-prev.done:
			prev = nil
		default:
		}
	}
	s.done = false
	s.fetch = s.newFetch(bound, prev)
	f := s.fetch
	e.fetchStarted(f)
	e.Go("fetch", f.failed, f.run)
	return nil
}

// bind turns the scan's parameters into those of the remote statement.
func (s *Scan) bind(params []*string) ([]odbc.Param, error) {
	args := s.reading.Load().statement.Args
	bound := make([]odbc.Param, len(args))
	for i, arg := range args {
		v, err := arg.Value(params)
		if err != nil {
			return nil, AsError(err)
		}
		bound[i] = param(v)
	}
	return bound, nil
}

func param(v fdw.Value) odbc.Param {
	p := odbc.Param{Null: v.Null, Text: v.Text, Int: v.Int, Float: v.Float, Bytes: v.Bytes}
	switch v.Bind {
	case fdw.BindInt64:
		p.Type = odbc.ParamInt
	case fdw.BindFloat64:
		p.Type = odbc.ParamFloat
	case fdw.BindBytes:
		p.Type = odbc.ParamBytes
	default:
		p.Type = odbc.ParamText
	}
	return p
}

// ScanNext returns the next block (a pc_block), which stays valid until the
// next call on the scan. It never waits.
func (e *Engine) ScanNext(id uint64) (unsafe.Pointer, ScanState, error) {
	s, err := e.knownScan(id)
	if err != nil {
		return nil, ScanEnded, err
	}
	if s.fetch == nil {
		return nil, ScanEnded, &Error{State: stateInternal, Message: "a scan was read that was not started"}
	}
	last := s.current.last
	s.current.release(s.fetch)
	if s.done {
		return nil, ScanEnded, nil
	}
	if s.over != nil || last {
		s.done = true
		return nil, ScanEnded, s.over
	}
	for {
		select {
		case s.current = <-s.fetch.out:
		default:
			// A driver that hangs does not keep the person waiting.
			if err := s.fetch.overtime(); err != nil {
				s.done = true
				return nil, ScanEnded, err
			}
			return nil, ScanWaits, nil
		}
		switch {
		case errors.Is(s.current.err, io.EOF):
			s.done = true
			return nil, ScanEnded, nil
		case s.current.err != nil:
			s.done = true
			if s.veiled() {
				return nil, ScanEnded, hidden(s.source, s.current.err)
			}
			return nil, ScanEnded, s.current.err
		case s.current.rows == 0: // the filter hid all of it
			s.done = s.current.last
			s.current.release(s.fetch)
			if s.done {
				return nil, ScanEnded, nil
			}
			continue
		}
		rows, bytes := s.current.rows, s.current.bytes
		if s.usage != nil {
			rows, bytes, s.over = s.usage.admit(s.current.block, rows, bytes)
		}
		if rows == 0 {
			s.current.release(s.fetch)
			s.done = true
			return nil, ScanEnded, s.over
		}
		s.rows += int64(rows)
		s.bytes += bytes
		return s.current.block, ScanBlock, nil
	}
}

// ScanEnd gives the scan up and frees it; the driver's call, if one runs, is
// left to itself. It returns what the scan brought.
func (e *Engine) ScanEnd(id uint64) (rows, bytes int64) {
	e.mu.Lock()
	s := e.scans[id]
	delete(e.scans, id)
	e.mu.Unlock()
	if s == nil {
		return 0, 0
	}
	s.end()
	e.leave(s.usage)
	return s.rows, s.bytes
}

func (s *Scan) end() {
	if s.fetch != nil {
		s.current.release(s.fetch)
		s.fetch.stop()
	}
}

func (e *Engine) fetchStarted(f *fetch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fetches[f] = struct{}{}
}

func (e *Engine) fetchEnded(f *fetch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.fetches, f)
}
