package node

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// maxLine bounds a line of the control protocol in bytes, its line feed included.
const maxLine = 64 << 10

// writeLimit is how long the worker may leave a line unread before the daemon gives up on it.
const writeLimit = 10 * time.Second

// errWorkerGone says that the worker closed its end.
var errWorkerGone = errors.New("the worker closed the control socket")

// config is a CONFIG line.
type config struct {
	url    string // "": no service
	sealed string // API key, sealed
	node   string
}

// control is the socket to the worker. Its methods may be called from any goroutine.
type control struct {
	conn *net.UnixConn

	mu   sync.Mutex
	told map[string]string // STATUS lines already sent
}

func newControl(conn *net.UnixConn) *control {
	return &control{conn: conn, told: map[string]string{}}
}

func (c *control) close() error { return c.conn.Close() }

// readControl takes the worker's lines until the socket ends.
func (d *daemon) readControl() error {
	r := bufio.NewReaderSize(d.control.conn, maxLine)
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			d.opts.Log.Error("line of the worker is too long, left out", "limit", maxLine)
			if err = skipLine(r); err == nil {
				continue
			}
		}
		if errors.Is(err, io.EOF) {
			return errWorkerGone
		}
		if err != nil {
			return fmt.Errorf("read from worker: %w", err)
		}
		if err := d.take(strings.TrimSuffix(string(line), "\n")); err != nil {
			d.opts.Log.Error("line of the worker is not understood, left out", "error", err)
		}
	}
}

func skipLine(r *bufio.Reader) error {
	for {
		_, err := r.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// take acts on one line. Errors never hold the line itself: it may carry a secret.
func (d *daemon) take(line string) error {
	kind, rest, _ := strings.Cut(line, "\t")
	fields := strings.Split(rest, "\t")
	switch kind {
	case "CONFIG":
		text, err := unhex(fields, "url", "sealed_api_key", "node")
		if err != nil {
			return fmt.Errorf("CONFIG: %w", err)
		}
		d.configs.put(config{url: text[0], sealed: text[1], node: text[2]})
	case "CHECK":
		text, err := unhex(fields, "role")
		if err != nil {
			return fmt.Errorf("CHECK: %w", err)
		}
		if !d.checks.put(text[0]) {
			d.control.account(text[0], verdict{Reason: "too many logins are being checked", Hint: "try again in a moment", TTL: refusalTTL})
		}
	case "SPOOL":
		p, err := parsePlace(fields)
		if err != nil {
			return fmt.Errorf("SPOOL: %w", err)
		}
		d.synced.put(p)
	default:
		return fmt.Errorf("unknown kind %.20q", kind)
	}
	return nil
}

// unhex decodes one field a name; a field must be UTF-8 without NUL.
func unhex(fields []string, names ...string) ([]string, error) {
	if len(fields) != len(names) {
		return nil, fmt.Errorf("%d fields instead of %d", len(fields), len(names))
	}
	text := make([]string, len(fields))
	for i, f := range fields {
		raw, err := hex.DecodeString(f)
		if err != nil {
			return nil, fmt.Errorf("%s is not hex", names[i])
		}
		if !utf8.Valid(raw) || strings.ContainsRune(string(raw), 0) {
			return nil, fmt.Errorf("%s is not text", names[i])
		}
		text[i] = string(raw)
	}
	return text, nil
}

func parsePlace(fields []string) (place, error) {
	if len(fields) != 2 {
		return place{}, fmt.Errorf("%d fields instead of 2", len(fields))
	}
	segment, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil {
		return place{}, errors.New("segment is not a number")
	}
	offset, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil || offset < 0 {
		return place{}, errors.New("offset is not a number")
	}
	return place{segment: segment, offset: offset}, nil
}

func (c *control) token(expires time.Time, token string) {
	c.send("TOKEN", strconv.FormatInt(expires.UnixMilli(), 10), token)
}

func (c *control) epoch(n uint64) { c.send("EPOCH", strconv.FormatUint(n, 10)) }

func (c *control) lease(d time.Duration) { c.send("LEASE", strconv.FormatInt(d.Milliseconds(), 10)) }

func (c *control) shipped(p place) {
	c.send("SHIPPED", strconv.FormatUint(p.segment, 10), strconv.FormatInt(p.offset, 10))
}

func (c *control) account(role string, v verdict) {
	answer, reason := "ok", ""
	if !v.OK {
		answer, reason = "denied", oneLine(v.Reason, maxReason)
		if v.Hint != "" {
			reason += "\n" + oneLine(v.Hint, maxHint)
		}
	}
	c.send("ACCOUNT", hexText(role), answer, strconv.FormatInt(v.TTL.Milliseconds(), 10), hexText(reason))
}

// status tells the value of a key if it differs from what was told last.
func (c *control) status(key, value string) {
	c.mu.Lock()
	same := c.told[key] == value
	c.told[key] = value
	c.mu.Unlock()
	if !same {
		c.send("STATUS", key, hexText(oneLine(value, maxStatus)))
	}
}

// send writes one line. A socket that fails is closed: the reader then ends the daemon.
func (c *control) send(fields ...string) {
	line := []byte(strings.Join(fields, "\t") + "\n")
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.conn.SetWriteDeadline(time.Now().Add(writeLimit))
	if err == nil {
		_, err = c.conn.Write(line)
	}
	if err != nil {
		_ = c.conn.Close() // the reader reports
	}
}

func hexText(s string) string { return hex.EncodeToString([]byte(s)) }

// What the worker has room for, in bytes.
const (
	maxStatus = 500
	maxReason = 600
	maxHint   = 400
)

// oneLine makes text fit to be shown: valid UTF-8, no control characters, at most limit bytes.
func oneLine(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= limit {
		return s
	}
	cut := limit - len("…")
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
