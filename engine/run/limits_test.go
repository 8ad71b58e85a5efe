package run

import (
	"errors"
	"strings"
	"testing"
	"time"

	"portcullis.dev/portcullis/policy"
)

// limitedScan begins a scan of ids and names under limits.
func limitedScan(t *testing.T, e *Engine, s *Source, d policy.Decision) uint64 {
	t.Helper()
	session, decision := governed(t, e, s, d)
	r := wholeTable(s, 1, 2)
	r.Session, r.Decision = session, decision
	return begin(t, e, r)
}

func wantLimit(t *testing.T, err error, state, part string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.State != state || !strings.Contains(e.Message, part) || !strings.Contains(e.Hint, "ask the steward for") {
		t.Errorf("got %#v, want %s with %q", err, state, part)
	}
}

func smallBlocks(c *Config) { c.BlockBytes = 16 << 10 }

// Rows come up to the limit, and then an error, never a silent end.
func TestRowsAndBytesAreLimited(t *testing.T) {
	hides := &policy.Predicate{Op: policy.OpGe, Column: "id", Values: []policy.Value{{Type: "integer", Text: "4000"}}}
	masked := map[string]policy.Mask{"name": {Kind: policy.MaskHash, Key: []byte("0123456789abcdef")}}
	tests := []struct {
		name   string
		filter *policy.Predicate
		masks  map[string]policy.Mask
		limits policy.Limits
		rows   int // that come
		over   string
	}{
		{"as many rows as there are", nil, nil, policy.Limits{Rows: rowsIn}, rowsIn, ""},
		{"one row fewer", nil, nil, policy.Limits{Rows: rowsIn - 1}, rowsIn - 1, "rows"},
		{"one row", nil, nil, policy.Limits{Rows: 1}, 1, "rows"},
		{"hidden rows do not count", hides, nil, policy.Limits{Rows: 1000}, 1000, ""},
		{"hidden rows do not count for less", hides, nil, policy.Limits{Rows: 999}, 999, "rows"},
		{"masked", nil, masked, policy.Limits{Rows: 4321}, 4321, "rows"},
		{"enough bytes", nil, nil, policy.Limits{Bytes: 1 << 20}, rowsIn, ""},
		{"no bytes", nil, nil, policy.Limits{Bytes: 1}, 0, "bytes"},
		{"bytes before rows", nil, nil, policy.Limits{Rows: 4000, Bytes: 1}, 0, "bytes"},
		{"rows before bytes", nil, nil, policy.Limits{Rows: 2, Bytes: 1 << 20}, 2, "rows"},
	}
	for name, s := range sources(t) {
		e := engineFor(t, s, smallBlocks)
		for _, test := range tests {
			t.Run(name+" "+test.name, func(t *testing.T) {
				id := limitedScan(t, e, s, policy.Decision{Limits: test.limits, Filter: test.filter, Masks: test.masks, Contact: "the steward"})
				rows, err := readAll(t, e, id)
				if len(rows) != test.rows {
					t.Errorf("%d rows, want %d", len(rows), test.rows)
				}
				if test.over != "" {
					wantLimit(t, err, "53400", test.over+" from source \""+s.ServerName+"\"")
				} else if err != nil {
					t.Error(err)
				}
				if n, _ := e.ScanEnd(id); n != int64(test.rows) {
					t.Errorf("%d rows counted", n)
				}
				if len(e.usages) != 0 {
					t.Error("the statement is still counted")
				}
			})
		}
	}
}

// All scans of a statement count together, also those started anew.
func TestLimitsCountOverScansAndRescans(t *testing.T) {
	s := sqliteSource(t)
	e := engineFor(t, s, smallBlocks)
	session, decision := governed(t, e, s, policy.Decision{Limits: policy.Limits{Rows: 2*rowsIn + 1}, Contact: "the steward"})
	r := wholeTable(s, 1)
	r.Session, r.Decision = session, decision
	first, second := begin(t, e, r), begin(t, e, r)
	for _, id := range []uint64{first, second} {
		if _, err := readAll(t, e, id); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.ScanStart(first, nil); err != nil {
		t.Fatal(err)
	}
	rows, err := readAll(t, e, first)
	if len(rows) != 1 {
		t.Errorf("%d rows after the rescan", len(rows))
	}
	wantLimit(t, err, "53400", "rows")
	r.QueryID++ // another statement starts from nothing
	other := begin(t, e, r)
	if rows, err := readAll(t, e, other); len(rows) != rowsIn || err != nil {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	for _, id := range []uint64{first, second, other} {
		e.ScanEnd(id)
	}
}

// A reader that does not come back keeps the source busy no longer than allowed.
func TestSecondsAreLimited(t *testing.T) {
	for name, s := range sources(t) {
		t.Run(name, func(t *testing.T) {
			e := engineFor(t, s, smallBlocks)
			id := limitedScan(t, e, s, policy.Decision{Limits: policy.Limits{Seconds: 1}, Contact: "the steward"})
			start := time.Now()
			if _, state, err := next(t, e, id); state != ScanBlock {
				t.Fatal(state, err)
			}
			f := e.scan(id).fetch
			until(t, e, func() bool { return f.overtime() != nil })
			if took := time.Since(start); took < 900*time.Millisecond || took > 3*time.Second {
				t.Errorf("took %v", took)
			}
			_, err := readAll(t, e, id)
			wantLimit(t, err, "57014", "source \""+s.ServerName+"\" busy for at most 1 seconds")
			if err := e.ScanStart(id, nil); err != nil {
				t.Fatal(err)
			}
			_, err = readAll(t, e, id)
			wantLimit(t, err, "57014", "busy")
			e.ScanEnd(id)
			e.TransactionEnd(true)
			again := limitedScan(t, e, s, policy.Decision{Limits: policy.Limits{Seconds: 1}})
			if rows, err := readAll(t, e, again); len(rows) != rowsIn || err != nil {
				t.Errorf("another statement: %d rows, %v", len(rows), err)
			}
			e.ScanEnd(again)
		})
	}
}

func TestLimitKeyNamesWhoActsAndTheSource(t *testing.T) {
	eve := policy.PersonRef{IAMID: "local", UserID: "eve"}
	keys := map[uint64]policy.Decision{}
	for _, d := range []policy.Decision{
		{Source: "a", Person: eve}, {Source: "b", Person: eve}, {Source: "a", Person: policy.PersonRef{IAMID: "okta", UserID: "eve"}},
		{Source: "a", Person: policy.PersonRef{IAMID: "local", UserID: "max"}},
	} {
		if same, taken := keys[limitKey(&d)]; taken {
			t.Errorf("%+v has the key of %+v", d.Person, same.Person)
		}
		keys[limitKey(&d)] = d
	}
	acting := policy.Decision{Source: "a", Person: policy.PersonRef{IAMID: "local", UserID: "max", Impersonator: "eve", ImpersonatorIAMID: "local"}}
	if limitKey(&acting) != limitKey(&policy.Decision{Source: "a", Person: eve}) {
		t.Error("acting as somebody else is counted for them")
	}
}

func TestDecisionsTellHowManyStatements(t *testing.T) {
	s := sqliteSource(t)
	e := engineFor(t, s, nil)
	d := policy.Decision{Limits: policy.Limits{Statements: 3}, Contact: "the steward."}
	session, id := governed(t, e, s, d)
	answers, err := decideAll(t, e, session, dsOne)
	if err != nil || answers[0].MaxStatements != 3 || answers[0].LimitKey == 0 {
		t.Errorf("%+v, %v", answers, err)
	}
	wantLimit(t, e.TooMany(id), "53300", "source \"lite\"")
	other := d
	other.Limits.Statements = 4
	if digest(&d) == digest(&other) {
		t.Error("limits are not part of the digest")
	}
}
