package queryaudit

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// format cuts a file into entries and reads them.
type format interface {
	// end is where the first entry of b ends, -1 if it is not complete.
	// quoted is the state to go on with when the entry is continued in more bytes.
	end(b []byte, quoted bool) (at int, still bool)
	parse(entry []byte, cut bool, zone *time.Location) (line, error)
	// resume is where, after a damaged entry, the next one may begin.
	resume(b []byte) int
}

func formatOf(name string) format {
	if strings.HasSuffix(name, ".json") {
		return jsonlog{}
	}
	return csvlog{}
}

// when reads the time of an entry, whose zone is named as log_timezone names it.
func when(text string, zone *time.Location) (time.Time, error) {
	t, err := time.ParseInLocation("2006-01-02 15:04:05.999 MST", text, zone)
	if err != nil {
		t, err = time.ParseInLocation("2006-01-02 15:04:05.999 -07", text, zone)
	}
	return t.UTC(), err
}

type csvlog struct{}

// end counts quotes: a line ends where they are even, since PostgreSQL doubles
// those inside.
func (csvlog) end(b []byte, quoted bool) (int, bool) {
	for i, c := range b {
		switch c {
		case '"':
			quoted = !quoted
		case '\n':
			if !quoted {
				return i + 1, false
			}
		}
	}
	return -1, quoted
}

const csvFields = 26 // since PostgreSQL 14

func (csvlog) parse(entry []byte, cut bool, zone *time.Location) (l line, err error) {
	read := csv.NewReader(bytes.NewReader(entry))
	read.FieldsPerRecord, read.LazyQuotes = -1, cut
	f, err := read.Read()
	if err != nil {
		return l, err
	}
	if len(f) < csvFields && cut && len(f) > 13 {
		f = append(f, make([]string, csvFields-len(f))...)
	}
	if len(f) < csvFields {
		return l, fmt.Errorf("%d fields", len(f))
	}
	l = line{role: f[1], database: f[2], client: f[4], session: f[5], command: f[7], severity: f[11], state: f[12], message: f[13],
		statement: f[19], appl: f[22], typ: f[23], cut: cut}
	if l.pid, err = strconv.Atoi(f[3]); err != nil {
		return l, err
	}
	if l.number, err = strconv.ParseInt(f[6], 10, 64); err != nil {
		return l, err
	}
	l.time, err = when(f[0], zone)
	return l, err
}

var csvStart = regexp.MustCompile(`\n\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [A-Z+-][\w+-]*,`)

func (csvlog) resume(b []byte) int {
	if at := csvStart.FindIndex(b); at != nil {
		return at[0] + 1
	}
	return -1
}

type jsonlog struct{}

func (jsonlog) end(b []byte, _ bool) (int, bool) {
	at := bytes.IndexByte(b, '\n')
	if at < 0 {
		return -1, false
	}
	return at + 1, false
}

func (jsonlog) parse(entry []byte, cut bool, zone *time.Location) (l line, err error) {
	var e struct {
		Timestamp   string `json:"timestamp"`
		User        string `json:"user"`
		Database    string `json:"dbname"`
		PID         int    `json:"pid"`
		Host        string `json:"remote_host"`
		Port        int    `json:"remote_port"`
		Session     string `json:"session_id"`
		Number      int64  `json:"line_num"`
		Command     string `json:"ps"`
		Severity    string `json:"error_severity"`
		State       string `json:"state_code"`
		Message     string `json:"message"`
		Statement   string `json:"statement"`
		Application string `json:"application_name"`
		Type        string `json:"backend_type"`
	}
	if cut {
		return l, io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(entry, &e); err != nil {
		return l, err
	}
	l = line{role: e.User, database: e.Database, client: e.Host, pid: e.PID, session: e.Session, number: e.Number, command: e.Command,
		severity: e.Severity, state: e.State, message: e.Message, statement: e.Statement, appl: e.Application, typ: e.Type}
	if e.Port != 0 {
		l.client += ":" + strconv.Itoa(e.Port)
	}
	l.time, err = when(e.Timestamp, zone)
	return l, err
}

func (jsonlog) resume(b []byte) int {
	if at := bytes.IndexByte(b, '\n'); at >= 0 && at+1 < len(b) {
		return at + 1
	}
	return -1
}
