package node

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	batchBytes  = 512 << 10 // read and sent at once
	maxRecord   = 8 << 20   // a longer line is no record
	placeFile   = "shipped.position"
	refusedFile = "refused.log"
)

// place is a position in the spool: everything before it, earlier segments included.
type place struct {
	segment uint64
	offset  int64 // bytes
}

func (p place) before(q place) bool {
	return p.segment < q.segment || p.segment == q.segment && p.offset < q.offset
}

// spool reads the segments that the worker writes.
type spool struct{ dir string }

func (s spool) path(segment uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%08d.log", segment))
}

// segments returns the numbers of the segments there are, ascending.
func (s spool) segments() ([]uint64, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list spool: %w", err)
	}
	var numbers []uint64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".log")
		if n, err := strconv.ParseUint(name, 10, 32); ok && err == nil && len(name) == 8 {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// start returns where shipping goes on: the kept place, or the first segment.
// Sending a record twice is harmless, leaving one out is not.
func (s spool) start() (place, error) {
	raw, err := os.ReadFile(filepath.Join(s.dir, placeFile))
	if err == nil {
		if p, err := parsePlace(strings.Fields(string(raw))); err == nil {
			return p, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return place{}, fmt.Errorf("read shipped position: %w", err)
	}
	return s.first(0)
}

// first returns the start of the first segment at or after the given one.
func (s spool) first(segment uint64) (place, error) {
	numbers, err := s.segments()
	if err != nil {
		return place{}, err
	}
	for _, n := range numbers {
		if n >= segment {
			return place{segment: n}, nil
		}
	}
	return place{segment: segment}, nil
}

// keep stores a place: a crash leaves the old file or the new one. It is not
// synced, since an older place only repeats records.
func (s spool) keep(p place) error {
	name := filepath.Join(s.dir, placeFile)
	if err := os.WriteFile(name+".new", fmt.Appendf(nil, "%d %d\n", p.segment, p.offset), 0o600); err != nil {
		return fmt.Errorf("keep shipped position: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("keep shipped position: %w", err)
	}
	return nil
}

// batch is what is sent at once.
type batch struct {
	records []record
	next    place // where the following batch begins
	torn    int   // bytes at the end of an abandoned segment that are no line
}

// record is a line of the spool.
type record struct {
	line string // without its line feed
	body []byte // JSON object to send, nil: the line is damaged
}

// read returns complete lines between from and synced; none and next = from
// where there are none yet.
func (s spool) read(from, synced place) (batch, error) {
	raw, last, err := s.readRaw(from, synced, batchBytes)
	if err != nil {
		return batch{}, err
	}
	end := bytes.LastIndexByte(raw, '\n') + 1
	b := batch{next: place{from.segment, from.offset + int64(end)}}
	for line := range bytes.Lines(raw[:end]) {
		b.records = append(b.records, parseRecord(bytes.TrimSuffix(line, []byte("\n"))))
	}
	if last && from.segment < synced.segment {
		b.torn = len(raw) - end
		b.next, err = s.first(from.segment + 1)
	}
	return b, err
}

// readRaw returns bytes from a place on; last if they reach the end of what
// the segment may give.
func (s spool) readRaw(from, synced place, size int64) (raw []byte, last bool, err error) {
	f, err := os.Open(s.path(from.segment))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil // removed after it was shipped
	}
	if err != nil {
		return nil, false, fmt.Errorf("read spool: %w", err)
	}
	defer f.Close()
	for ; ; size = maxRecord {
		want := size
		if from.segment == synced.segment {
			want = min(want, synced.offset-from.offset)
		}
		raw = make([]byte, want)
		n, err := f.ReadAt(raw, from.offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, false, fmt.Errorf("read spool: %w", err)
		}
		raw, last = raw[:n], int64(n) < size
		if last || bytes.IndexByte(raw, '\n') >= 0 {
			return raw, last, nil
		}
		if size == maxRecord {
			return nil, false, fmt.Errorf("segment %d has a line of over %d bytes at %d: move the segment away to go on", from.segment, maxRecord, from.offset)
		}
	}
}

// parseRecord reads "<seq> <chainhash hex> <json>". Place and hash of the
// chain go with the record, so that the store can tell a gap or an edit.
func parseRecord(line []byte) record {
	r := record{line: string(line)}
	seq, rest, _ := bytes.Cut(line, []byte(" "))
	chain, body, _ := bytes.Cut(rest, []byte(" "))
	number, err := strconv.ParseUint(string(seq), 10, 64)
	if err != nil {
		return r
	}
	if _, err := hex.DecodeString(string(chain)); err != nil || len(chain) == 0 {
		return r
	}
	if !json.Valid(body) || body[0] != '{' {
		return r
	}
	head := fmt.Appendf(nil, `{"seq":%d,"chain":%q`, number, chain)
	if inner := bytes.TrimSpace(body[1:]); inner[0] != '}' {
		head = append(head, ',')
	}
	r.body = append(head, body[1:]...)
	return r
}

// refuse puts a record aside that the service will never take; it stays on
// the node for a person to look at.
func (s spool) refuse(r record, why string) error {
	f, err := os.OpenFile(filepath.Join(s.dir, refusedFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("put record aside: %w", err)
	}
	if _, err := fmt.Fprintf(f, "# %s\n%s\n", oneLine(why, maxStatus), r.line); err != nil {
		return errors.Join(fmt.Errorf("put record aside: %w", err), f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(fmt.Errorf("put record aside: %w", err), f.Close())
	}
	return f.Close()
}
