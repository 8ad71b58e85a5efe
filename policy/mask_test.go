package policy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func apply(t *testing.T, m Mask, typeName, value string) string {
	t.Helper()
	masker, err := m.Compile(typeName)
	if err != nil {
		t.Fatalf("%+v on %s: %v", m, typeName, err)
	}
	out, null, err := masker.Append([]byte("before:"), []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	if null {
		return "NULL"
	}
	return strings.TrimPrefix(string(out), "before:")
}

func TestMasks(t *testing.T) {
	text := func(s string) *string { return &s }
	cases := []struct {
		mask        Mask
		typeName    string
		value, want string
	}{
		{Mask{Kind: MaskNull}, "point", "(1,2)", "NULL"},
		{Mask{Kind: MaskConstant}, "text", "x", "NULL"},
		{Mask{Kind: MaskConstant, Constant: text("***")}, "text", "x", "***"},
		{Mask{Kind: MaskConstant, Constant: text("7")}, "integer", "1", "7"},

		{Mask{Kind: MaskRegex, Pattern: `^(\d{3})\d{2}$`, Replacement: "$1**"}, "text", "12345", "123**"},
		{Mask{Kind: MaskRegex, Pattern: `^(\d{3})\d{2}$`, Replacement: "$1**"}, "text", "1234", "NULL"},
		{Mask{Kind: MaskRegex, Pattern: `^(\d{3})\d{2}$`, Replacement: "$1**", Keep: true}, "text", "1234", "1234"},
		{Mask{Kind: MaskRegex, Pattern: `\d`, Replacement: "#"}, "text", "a1b2", "a#b2"},
		{Mask{Kind: MaskRegex, Pattern: `\d`, Replacement: "#", Global: true}, "text", "a1b2", "a#b#"},
		{Mask{Kind: MaskRegex, Pattern: `x*`, Replacement: "-", Global: true}, "text", "ab", "-a-b-"},
		{Mask{Kind: MaskRegex, Pattern: `^`, Replacement: "long"}, "character varying(5)", "ab", "NULL"},

		{Mask{Kind: MaskRound, Base: "10"}, "integer", "19", "10"},
		{Mask{Kind: MaskRound, Base: "10"}, "integer", "-1", "-10"},
		{Mask{Kind: MaskRound, Base: "10"}, "integer", "-10", "-10"},
		{Mask{Kind: MaskRound, Base: "10"}, "bigint", "9223372036854775807", "9223372036854775800"},
		{Mask{Kind: MaskRound, Base: "10"}, "bigint", "-9223372036854775808", "-9223372036854775808"},
		{Mask{Kind: MaskRound, Base: "1000"}, "smallint", "-32768", "-32768"},
		{Mask{Kind: MaskRound, Base: "1000000"}, "smallint", "-1", "-32768"},
		{Mask{Kind: MaskRound, Base: "0.25"}, "numeric", "1.99", "1.75"},
		{Mask{Kind: MaskRound, Base: "0.25"}, "numeric(8,2)", "-0.01", "-0.25"},
		{Mask{Kind: MaskRound, Base: "1000"}, "numeric(5,2)", "-999.99", "-999.99"},
		{Mask{Kind: MaskRound, Base: "1"}, "numeric(5,2)", "12.34", "12.00"},
		{Mask{Kind: MaskRound, Base: "3"}, "numeric", "123456789012345678901234567890123456789012345678901234567890.5", "123456789012345678901234567890123456789012345678901234567890"},
		{Mask{Kind: MaskRound, Base: "0.1"}, "double precision", "0.3", "0.3"},
		{Mask{Kind: MaskRound, Base: "1"}, "double precision", "-33.9249", "-34"},
		{Mask{Kind: MaskRound, Base: "1"}, "double precision", "1e20", "100000000000000000000"},
		{Mask{Kind: MaskRound, Base: "1"}, "double precision", "Infinity", "NULL"},
		{Mask{Kind: MaskRound, Base: "1"}, "numeric", "NaN", "NULL"},
		{Mask{Kind: MaskRound, Base: "1"}, "integer", "garbage", "NULL"},

		{Mask{Kind: MaskTruncate, Unit: "year"}, "date", "2026-11-22", "2026-01-01"},
		{Mask{Kind: MaskTruncate, Unit: "quarter"}, "date", "2026-11-22", "2026-10-01"},
		{Mask{Kind: MaskTruncate, Unit: "month"}, "date", "2024-02-29", "2024-02-01"},
		{Mask{Kind: MaskTruncate, Unit: "week"}, "date", "2026-11-22", "2026-11-16"},
		{Mask{Kind: MaskTruncate, Unit: "week"}, "date", "1969-12-31", "1969-12-29"},
		{Mask{Kind: MaskTruncate, Unit: "day"}, "date", "2026-11-22", "2026-11-22"},
		{Mask{Kind: MaskTruncate, Unit: "month"}, "date", "0044-03-15 BC", "0044-03-01 BC"},
		{Mask{Kind: MaskTruncate, Unit: "year"}, "date", "4714-12-01 BC", "4714-11-24 BC"},
		{Mask{Kind: MaskTruncate, Unit: "year"}, "date", "infinity", "NULL"},
		{Mask{Kind: MaskTruncate, Unit: "year"}, "date", "2026-02-30", "NULL"},
		{Mask{Kind: MaskTruncate, Unit: "hour"}, "timestamp without time zone", "2026-11-22 17:46:40.5", "2026-11-22 17:00:00"},
		{Mask{Kind: MaskTruncate, Unit: "minute"}, "timestamp(3) without time zone", "1969-12-31 23:59:59.999", "1969-12-31 23:59:00"},
		{Mask{Kind: MaskTruncate, Unit: "day"}, "timestamp with time zone", "2026-11-22 01:30:00+02", "2026-11-21 00:00:00+00"},
		{Mask{Kind: MaskTruncate, Unit: "day", Zone: "Europe/Berlin"}, "timestamp with time zone", "2026-11-22 23:30:00+00", "2026-11-22 23:00:00+00"},
		{Mask{Kind: MaskTruncate, Unit: "day", Zone: "Europe/Berlin"}, "timestamp with time zone", "2026-03-29 12:00:00+00", "2026-03-28 23:00:00+00"},
		{Mask{Kind: MaskTruncate, Unit: "hour", Zone: "Asia/Kathmandu"}, "timestamp with time zone", "2026-11-22 12:00:00+00", "2026-11-22 11:15:00+00"},
		{Mask{Kind: MaskTruncate, Unit: "year"}, "timestamp with time zone", "2026-11-22 12:00:00", "NULL"},
		{Mask{Kind: MaskTruncate, Unit: "day"}, "timestamp without time zone", "294276-12-31 23:59:59.999999", "294276-12-31 00:00:00"},
		{Mask{Kind: MaskTruncate, Unit: "day"}, "timestamp with time zone", "294276-12-31 23:59:59.999999+00", "294276-12-31 00:00:00+00"},
		{Mask{Kind: MaskTruncate, Unit: "day"}, "timestamp without time zone", "294277-01-01 00:00:00", "NULL"},
		{Mask{Kind: MaskTruncate, Unit: "week"}, "timestamp without time zone", "4714-11-24 00:00:00 BC", "4714-11-24 00:00:00 BC"},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%s %s %s", c.mask.Kind, c.typeName, c.value), func(t *testing.T) {
			if got := apply(t, c.mask, c.typeName, c.value); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestMasksSuitColumnsThatHoldWhatTheyShow(t *testing.T) {
	constant := "1"
	for _, tt := range []struct {
		mask     Mask
		typeName string
		ok       bool
	}{
		{Mask{Kind: MaskHash}, "text", true},
		{Mask{Kind: MaskHash}, "character varying", true},
		{Mask{Kind: MaskHash}, "character varying(64)", true},
		{Mask{Kind: MaskHash}, "character(64)", true},
		{Mask{Kind: MaskHash}, "character varying(63)", false},
		{Mask{Kind: MaskHash}, "character(63)", false},
		{Mask{Kind: MaskHash}, "integer", false},
		{Mask{Kind: MaskHash}, "uuid", false},
		{Mask{Kind: MaskHash}, "mood", false},
		{Mask{Kind: MaskNull}, "mood", true},
		{Mask{Kind: MaskConstant, Constant: &constant}, "integer", true},
		{Mask{Kind: MaskConstant, Constant: &constant}, "date", false},
		{Mask{Kind: MaskRound, Base: "10"}, "text", false},
	} {
		if err := tt.mask.Suits(tt.typeName); (err == nil) != tt.ok {
			t.Errorf("%s on %s: %v", tt.mask.Kind, tt.typeName, err)
		}
	}
}

// TestMaskedNulls compares with what the rules read like, for every kind,
// mode and value, NULL among them.
func TestMaskedNulls(t *testing.T) {
	constant := "***"
	rapid.Check(t, func(t *rapid.T) {
		key := []byte(rapid.StringN(1, 32, -1).Draw(t, "key"))
		masks := []Mask{{Kind: MaskNull}, {Kind: MaskConstant}, {Kind: MaskConstant, Constant: &constant}, {Kind: MaskHash, Key: key}, {Kind: MaskRegex, Pattern: "^a", Replacement: "b"}}
		m := rapid.SampledFrom(masks).Draw(t, "mask")
		m.Nulls = rapid.SampledFrom([]NullsMode{NullsKeep, NullsMask, "other"}).Draw(t, "nulls")
		masker, err := m.Compile("text")
		canHide := m.Kind == MaskHash || m.Kind == MaskConstant && m.Constant != nil
		if known := m.Nulls == NullsKeep || m.Nulls == NullsMask && canHide; (err == nil) != known {
			t.Fatalf("%+v: %v", m, err)
		}
		if err != nil {
			return
		}
		value := rapid.StringN(0, 8, -1).Draw(t, "value")
		shownNull, isNull := masker.AppendNull([]byte("x"))
		shown, valueIsNull, err := masker.Append([]byte("x"), []byte(value))
		if err != nil {
			t.Fatal(err)
		}
		hides := m.Nulls == NullsMask
		switch {
		case isNull == hides:
			t.Fatalf("%+v: NULL is shown as NULL: %t", m, isNull)
		case hides && m.Kind == MaskConstant && (string(shownNull) != "x***" || string(shown) != "x***"):
			t.Fatalf("%q and %q", shownNull, shown)
		case hides && m.Kind == MaskHash && (valueIsNull || len(shownNull) != 65 || string(shownNull) == string(shown)):
			t.Fatalf("NULL %q, %q %q", shownNull, value, shown)
		}
	})
}

func TestHashIsEqualForEqualValues(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	same := []struct {
		typeName string
		values   []string
	}{
		{"integer", []string{"7", "+7", "007"}},
		{"numeric", []string{"1.5", "1.50", "15e-1", "01.5"}},
		{"numeric", []string{"0", "-0", "0.00"}},
		{"double precision", []string{"0.1", "1e-1", "0.10"}},
		{"double precision", []string{"0", "-0"}},
		{"boolean", []string{"t", "true", "1"}},
		{"character(5)", []string{"ab", "ab   "}},
		{"uuid", []string{"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "{a0eebc999c0b4ef8bb6d6bb9bd380a11}"}},
		{"timestamp with time zone", []string{"2026-01-01 00:00:00+00", "2026-01-01 01:00:00+01", "2025-12-31 18:30:00-05:30"}},
		{"timestamp without time zone", []string{"2026-01-01 00:00:00", "2026-01-01 00:00:00.000000", "2026-01-01T00:00"}},
		{"bytea", []string{`\xAB`, `\xab`}},
	}
	seen := map[string]string{}
	for _, c := range same {
		want := apply(t, Mask{Kind: MaskHash, Key: key}, c.typeName, c.values[0])
		canonical, err := Canonical(c.typeName, c.values[0])
		if err != nil {
			t.Fatal(err)
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(canonical))
		if want != hex.EncodeToString(mac.Sum(nil)) {
			t.Errorf("%s %q: not the HMAC of %q", c.typeName, c.values[0], canonical)
		}
		for _, v := range c.values {
			if got := apply(t, Mask{Kind: MaskHash, Key: key}, c.typeName, v); got != want {
				t.Errorf("%s: %q and %q differ", c.typeName, c.values[0], v)
			}
		}
		if before, ok := seen[want]; ok && before != canonical {
			t.Errorf("%q and %q collide", before, canonical)
		}
		seen[want] = canonical
	}
	if apply(t, Mask{Kind: MaskHash, Key: key}, "text", "ab") == apply(t, Mask{Kind: MaskHash, Key: key}, "text", "ab ") {
		t.Error("a blank counts in text")
	}
	if got := apply(t, Mask{Kind: MaskHash}, "text", "x"); got != "NULL" {
		t.Errorf("without a key: %s", got)
	}
}

func TestMasksThatAreRefused(t *testing.T) {
	bad := "x"
	cases := []struct {
		mask     Mask
		typeName string
		says     string
	}{
		{Mask{Kind: "blur"}, "text", "unknown kind"},
		{Mask{}, "text", "unknown kind"},
		{Mask{Kind: MaskConstant, Constant: &bad}, "integer", "integer"},
		{Mask{Kind: MaskConstant, Constant: &bad}, "json", "not supported"},
		{Mask{Kind: MaskRegex, Pattern: "("}, "text", "pattern"},
		{Mask{Kind: MaskRegex, Pattern: "x"}, "integer", "text columns"},
		{Mask{Kind: MaskRound, Base: "0"}, "integer", "positive"},
		{Mask{Kind: MaskRound, Base: "-1"}, "integer", "positive"},
		{Mask{Kind: MaskRound, Base: "0.5"}, "integer", "digits after the point"},
		{Mask{Kind: MaskRound, Base: "0.001"}, "numeric(5,2)", "digits after the point"},
		{Mask{Kind: MaskRound, Base: "NaN"}, "numeric", "positive"},
		{Mask{Kind: MaskRound, Base: "1"}, "text", "only numbers"},
		{Mask{Kind: MaskTruncate, Unit: "century"}, "date", "unknown unit"},
		{Mask{Kind: MaskTruncate, Unit: "hour"}, "date", "no hour"},
		{Mask{Kind: MaskTruncate, Unit: "day"}, "time without time zone", "dates and timestamps"},
		{Mask{Kind: MaskTruncate, Unit: "day", Zone: "Mars/Phobos"}, "timestamp with time zone", "time zone"},
		{Mask{Kind: MaskTruncate, Unit: "day", Zone: "UTC"}, "date", "zone is for"},
	}
	for _, c := range cases {
		if err := c.mask.Validate(c.typeName); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v on %s: %v, want %q", c.mask, c.typeName, err, c.says)
		}
	}
}

// TestRoundAgainstRationals compares with arithmetic on rationals.
func TestRoundAgainstRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scale := rapid.IntRange(0, 5).Draw(t, "scale")
		base := big.NewRat(rapid.Int64Range(1, 100000).Draw(t, "base"), pow10(scale).Int64())
		x := big.NewRat(rapid.Int64().Draw(t, "x"), pow10(rapid.IntRange(0, 9).Draw(t, "digits")).Int64())
		m, err := Mask{Kind: MaskRound, Base: base.FloatString(scale)}.Compile("numeric")
		if err != nil {
			t.Fatal(err)
		}
		out, null, _ := m.Append(nil, []byte(x.FloatString(9)))
		got, ok := new(big.Rat).SetString(string(out))
		if null || !ok {
			t.Fatalf("%s", out)
		}
		q := new(big.Rat).Quo(x, base)
		floor := new(big.Int).Div(q.Num(), q.Denom())
		want := new(big.Rat).Mul(new(big.Rat).SetInt(floor), base)
		if got.Cmp(want) != 0 {
			t.Fatalf("floor(%s / %s): got %s, want %s", x, base, got, want)
		}
	})
}

// TestMomentsAgainstTime compares calendar arithmetic with package time.
func TestMomentsAgainstTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		micros := rapid.Int64Range(-62135596800, 253402300799).Draw(t, "seconds")*second + rapid.Int64Range(0, second-1).Draw(t, "micros")
		at := time.UnixMicro(micros).UTC()
		text := at.Format("2006-01-02 15:04:05.999999")
		v, ok := parseMoment(classTimestamp, []byte(text))
		if since2000 := micros - 946684800*second; !ok || v != since2000 {
			t.Fatalf("%s: read as %d %v, want %d", text, v, ok, since2000)
		}
		if got := string(appendMoment(nil, classTimestamp, v)); got != text {
			t.Fatalf("printed %s, want %s", got, text)
		}
		if got := string(appendMoment(nil, classDate, floorDiv(v, day)+epochDays)); got != at.Format("2006-01-02") {
			t.Fatalf("date %s of %s", got, text)
		}
	})
}

func FuzzMasksAreTotal(f *testing.F) {
	f.Add("1.5e3")
	f.Add("2026-01-01 00:00:00+00")
	f.Add("infinity BC")
	masks := []Mask{{Kind: MaskHash, Key: []byte("k")}, {Kind: MaskRound, Base: "7"}, {Kind: MaskTruncate, Unit: "week"}, {Kind: MaskRegex, Pattern: "a|b*", Replacement: "$0", Global: true}}
	types := []string{"integer", "numeric(8,2)", "numeric", "double precision", "text", "character(3)", "boolean", "date", "timestamp without time zone", "timestamp with time zone", "uuid", "bytea", "json"}
	f.Fuzz(func(t *testing.T, value string) {
		for _, m := range masks {
			for _, typeName := range types {
				masker, err := m.Compile(typeName)
				if err != nil {
					continue
				}
				out, null, err := masker.Append(nil, []byte(value))
				if err != nil {
					t.Fatal(err)
				}
				if m.Kind == MaskTruncate || m.Kind == MaskRound {
					if _, cerr := Canonical(typeName, string(out)); !null && cerr != nil {
						t.Fatalf("%s %s of %q shows %q, no value of the type", m.Kind, typeName, value, out)
					}
				}
			}
		}
	})
}
