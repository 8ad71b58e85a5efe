package service

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds on what a node may send.
const (
	maxRecord  = 1 << 20  // bytes of one record
	maxRecords = 16 << 20 // bytes of one request
)

// auditLine is one record as a node sends it.
type auditLine struct {
	number   int // in the request, from 1
	id, kind string

	seq    int64  // place in the node's chain, 0: none was sent
	chain  []byte // the node's chain value
	digest [sha256.Size]byte

	body     []byte // as it is stored
	original []byte // as it came, where body differs
}

// RefusedRecord says why a record was not stored. Sending it again does not help.
type RefusedRecord struct {
	Line   int    `json:"line"` // in the request, from 1
	ID     string `json:"id,omitempty"`
	Kind   string `json:"kind,omitempty"`
	Reason string `json:"reason"`
}

// readAuditLines reads a request: one JSON object a line. A line that is no
// record is refused by itself.
func readAuditLines(lines io.Reader) (taken []auditLine, refused []RefusedRecord, err error) {
	in := bufio.NewReaderSize(lines, 64<<10)
	for n := 1; ; n++ {
		raw, tooLong, err := readLine(in)
		if err == io.EOF {
			return taken, refused, nil
		}
		if err != nil {
			return nil, nil, err
		}
		line := auditLine{number: n}
		reason := ""
		switch raw = bytes.TrimSpace(raw); {
		case tooLong:
			reason = fmt.Sprintf("the record is longer than %d bytes", maxRecord)
		case len(raw) == 0:
			continue
		default:
			reason = line.parse(raw)
		}
		if reason != "" {
			refused = append(refused, RefusedRecord{Line: n, ID: line.id, Kind: line.kind, Reason: reason})
			continue
		}
		taken = append(taken, line)
	}
}

// readLine returns the next line, io.EOF after the last. Of one that is too
// long nothing is kept.
func readLine(in *bufio.Reader) (line []byte, tooLong bool, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if tooLong = tooLong || len(line)+len(part) > maxRecord; tooLong {
			line = nil
		} else {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == io.EOF && (len(line) > 0 || tooLong):
			return line, tooLong, nil
		}
		return line, tooLong, err
	}
}

// parse fills the line and says why it is no record, or "".
func (l *auditLine) parse(raw []byte) string {
	var key struct {
		ID   string `json:"id"`
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(raw, &key); err != nil {
		return "it is not a JSON object: " + err.Error()
	}
	if key.ID == "" || len(key.ID) > 256 {
		return "id must be a text of 1 to 256 bytes"
	}
	l.id = strings.ReplaceAll(key.ID, "\x00", "\uFFFD")
	if key.Kind == "" || len(key.Kind) > 64 {
		return "kind must be a text of 1 to 64 bytes"
	}
	l.kind = strings.ReplaceAll(key.Kind, "\x00", "\uFFFD")
	var record []byte
	l.seq, l.chain, record = chainPlace(raw)
	l.digest = sha256.Sum256(record)
	if l.body = storable(raw); !bytes.Equal(l.body, raw) {
		l.original = bytes.Clone(raw)
	}
	return ""
}

// placePrefix is what the daemon puts before a record: its place in the chain.
var placePrefix = regexp.MustCompile(`^\{"seq":([0-9]{1,18}),"chain":"((?:[0-9a-f]{2}){1,64})"(,|\}$)`)

// chainPlace takes a line apart into its place in the chain and the record as
// the node wrote it.
func chainPlace(raw []byte) (seq int64, chain, record []byte) {
	m := placePrefix.FindSubmatchIndex(raw)
	if m == nil {
		return 0, nil, raw
	}
	seq, _ = strconv.ParseInt(string(raw[m[2]:m[3]]), 10, 64) // 18 digits fit
	chain, _ = hex.DecodeString(string(raw[m[4]:m[5]]))       // the pattern says hex
	if raw[m[6]] == '}' {
		return seq, chain, []byte("{}")
	}
	return seq, chain, append([]byte("{"), raw[m[7]:]...)
}

// storable returns a copy that PostgreSQL's json functions take: no NUL, no
// broken UTF-8, no lone surrogate. A record must never be refused for what a
// user wrote in it.
func storable(line []byte) []byte {
	if utf8.Valid(line) && !bytes.Contains(line, []byte(`\u`)) {
		return bytes.Clone(line)
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return bytes.Clone(line)
	}
	out, err := json.Marshal(withoutNUL(v))
	if err != nil {
		return bytes.Clone(line)
	}
	return out
}

func withoutNUL(v any) any {
	switch x := v.(type) {
	case string:
		return strings.ReplaceAll(x, "\x00", "\uFFFD")
	case []any:
		for i := range x {
			x[i] = withoutNUL(x[i])
		}
	case map[string]any:
		clean := make(map[string]any, len(x))
		for k, e := range x {
			clean[strings.ReplaceAll(k, "\x00", "\uFFFD")] = withoutNUL(e)
		}
		return clean
	}
	return v
}
