package queryaudit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Position is up to where a log was read.
type Position struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	// Head is a digest of the first HeadLen bytes: a name that is used again
	// for a new file is noticed.
	Head    string `json:"head,omitempty"`
	HeadLen int    `json:"head_len,omitempty"`
}

// Reader reads the log of one instance.
type Reader struct {
	Log      Log
	Instance string                   // system identifier: part of each id
	Zone     *time.Location           // of the log; nil: UTC
	Person   func(role string) string // whose account a role is, "" if nobody's
	// Everybody keeps what roles did that are nobody's account.
	Everybody bool
	// Sources to keep; nil: all. Where pgaudit and log_statement are both on,
	// a statement has a record of each.
	Sources []Source
	// Format is "csv" or "json"; "": json if there is any such file. Where an
	// instance writes both, both say the same.
	Format string
}

// Batch is what one call read.
type Batch struct {
	Records []Record
	Next    Position // to be kept once the records are
	More    bool     // there is more to be read now
	Damaged int      // entries that could not be read: a crash in mid-write
	// Lost says that the instance removed files that were not read to the end.
	Lost string
}

const (
	chunk    = 1 << 20 // bytes that one call reads
	maxEntry = 8 << 20 // bytes of an entry that are looked at
	headSize = 256
)

// End is the position behind all that is there: to begin with what comes.
func (r *Reader) End(ctx context.Context) (Position, error) {
	files, err := r.files(ctx)
	if err != nil || len(files) == 0 {
		return Position{}, err
	}
	last := files[len(files)-1]
	p := Position{File: last.Name, Offset: last.Size}
	return p, r.setHead(ctx, &p)
}

// files of the format that is read.
func (r *Reader) files(ctx context.Context) ([]File, error) {
	all, err := r.Log.Files(ctx)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, unavailable(errNoLog, "the instance writes no log that can be read", "Set logging_collector = on and log_destination = 'jsonlog' (PostgreSQL 15 and later) or 'csvlog'.")
	}
	end := "." + r.Format
	if r.Format == "" {
		end = ".csv"
		if slices.ContainsFunc(all, func(f File) bool { return strings.HasSuffix(f.Name, ".json") }) {
			end = ".json"
		}
	}
	return slices.DeleteFunc(all, func(f File) bool { return !strings.HasSuffix(f.Name, end) }), nil
}

var errNoLog = errors.New("no file ends with .csv or .json")

// Read goes on from a position; the zero Position is the oldest file. Entries
// that are not complete yet are left for the next call.
func (r *Reader) Read(ctx context.Context, from Position) (Batch, error) {
	files, err := r.files(ctx)
	if err != nil {
		return Batch{Next: from}, err
	}
	b := Batch{Next: from}
	at, err := r.find(ctx, files, &b)
	if err != nil || at < 0 {
		return b, err
	}
	before := b.Next.Offset
	if err := r.readFile(ctx, &b); err != nil {
		return b, err
	}
	later := at+1 < len(files)
	switch {
	case b.Next.Offset != before:
		b.More = later || b.Next.Offset < files[at].Size
	case later: // nothing is added to a file once a later one is there
		b.More = true
		if b.Next.Offset < files[at].Size { // its last entry was never completed
			b.Damaged++
			if skip, err := r.afterDamage(ctx, b.Next); err != nil {
				return b, err
			} else if skip > 0 {
				b.Next.Offset += int64(skip)
				break
			}
		}
		b.Next = Position{File: files[at+1].Name}
	}
	return b, r.setHead(ctx, &b.Next)
}

func (r *Reader) afterDamage(ctx context.Context, p Position) (int, error) {
	data, err := r.Log.Read(ctx, p.File, p.Offset, chunk)
	return formatOf(p.File).resume(data), err
}

// find is the file of the position, or the one to go on with.
func (r *Reader) find(ctx context.Context, files []File, b *Batch) (int, error) {
	if len(files) == 0 {
		return -1, nil
	}
	at := slices.IndexFunc(files, func(f File) bool { return f.Name == b.Next.File })
	if at < 0 {
		if b.Next.File != "" {
			b.Lost = fmt.Sprintf("%s is gone; it was read up to byte %d, and reading goes on with %s", b.Next.File, b.Next.Offset, files[0].Name)
		}
		b.Next = Position{File: files[0].Name}
		return 0, nil
	}
	same, err := r.sameFile(ctx, files[at], b.Next)
	if err == nil && !same {
		b.Lost = fmt.Sprintf("%s was begun anew; before, it was read up to byte %d", b.Next.File, b.Next.Offset)
		b.Next = Position{File: files[at].Name}
	}
	return at, err
}

func (r *Reader) sameFile(ctx context.Context, f File, p Position) (bool, error) {
	if f.Size < p.Offset {
		return false, nil
	}
	if p.HeadLen == 0 {
		return true, nil
	}
	head, err := r.Log.Read(ctx, f.Name, 0, p.HeadLen)
	return err == nil && digest(head) == p.Head, err
}

func (r *Reader) setHead(ctx context.Context, p *Position) error {
	n := int(min(p.Offset, headSize))
	if n == p.HeadLen {
		return nil
	}
	head, err := r.Log.Read(ctx, p.File, 0, n)
	if err == nil {
		p.Head, p.HeadLen = digest(head), len(head)
	}
	return err
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// readFile takes whole entries from one chunk, or one long entry.
func (r *Reader) readFile(ctx context.Context, b *Batch) error {
	data, err := r.Log.Read(ctx, b.Next.File, b.Next.Offset, chunk)
	if err != nil {
		return err
	}
	f := formatOf(b.Next.File)
	end, _ := f.end(data, false)
	if end < 0 && len(data) == chunk {
		return r.readLong(ctx, b, f, data)
	}
	for end >= 0 {
		if skip := r.take(b, f, data[:end], false); skip > 0 {
			end = skip
		}
		b.Next.Offset += int64(end)
		data = data[end:]
		end, _ = f.end(data, false)
	}
	return nil
}

// take makes a record of an entry. A damaged one is skipped up to where the
// next may begin, whose distance is returned if it is inside.
func (r *Reader) take(b *Batch, f format, entry []byte, cut bool) int {
	zone := r.Zone
	if zone == nil {
		zone = time.UTC
	}
	l, err := f.parse(entry, cut, zone)
	if err != nil {
		b.Damaged++
		return max(f.resume(entry), 0)
	}
	record, ok := l.record(r.Instance)
	if !ok || r.Sources != nil && !slices.Contains(r.Sources, record.Source) {
		return 0
	}
	if r.Person != nil {
		record.Person = r.Person(record.Role)
	}
	if record.Person != "" || r.Everybody {
		b.Records = append(b.Records, record)
	}
	return 0
}

// readLong reads an entry that is longer than a chunk: of one that is longer
// than maxEntry the beginning.
func (r *Reader) readLong(ctx context.Context, b *Batch, f format, data []byte) error {
	kept := data
	_, quoted := f.end(data, false)
	offset := b.Next.Offset + int64(len(data))
	for {
		more, err := r.Log.Read(ctx, b.Next.File, offset, chunk)
		if err != nil {
			return err
		}
		end, still := f.end(more, quoted)
		taken := more
		if end >= 0 {
			taken = more[:end]
		}
		if len(kept) < maxEntry {
			kept = append(kept, taken...)
		}
		offset += int64(len(taken))
		if end >= 0 {
			if skip := r.take(b, f, kept, len(kept) >= maxEntry); skip > 0 {
				offset = b.Next.Offset + int64(skip)
			}
			b.Next.Offset = offset
			return nil
		}
		if len(more) < chunk {
			return nil // not complete yet
		}
		quoted = still
	}
}
