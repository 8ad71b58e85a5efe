package classify

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"portcullis.dev/portcullis/connection"
)

// detector recognises one kind of value.
type detector struct {
	tag        string
	what       string // plural, for the reason
	is         func(string) bool
	shapes     []shape
	share      float64 // of the values that must be so
	atLeast    int     // values that must have been seen
	confidence float64 // where all are so
}

// The first that fits a column counts, so those that are sure come first. What
// one value in ten or eleven passes by chance needs many values.
var detectors = []detector{
	{tag: TagEmail, what: "e-mail addresses", is: isEmail, shapes: []shape{text}, share: 0.8, atLeast: 5, confidence: 0.95},
	{tag: TagIBAN, what: "IBANs with right check digits", is: isIBAN, shapes: []shape{text}, share: 0.8, atLeast: 5, confidence: 0.98},
	{tag: TagCard, what: "card numbers with a right check digit", is: isCard, shapes: []shape{text, number}, share: 0.9, atLeast: 10, confidence: 0.95},
	{tag: TagNationalID, what: "Italian tax codes", is: isCodiceFiscale, shapes: []shape{text}, share: 0.9, atLeast: 5, confidence: 0.97},
	{tag: TagNationalID, what: "French social security numbers", is: isFrenchNIR, shapes: []shape{text, number}, share: 0.9, atLeast: 5, confidence: 0.97},
	{tag: TagNationalID, what: "Spanish identity numbers", is: isSpanishID, shapes: []shape{text}, share: 0.9, atLeast: 5, confidence: 0.95},
	{tag: TagNationalID, what: "Swiss insurance numbers", is: isAHV, shapes: []shape{text, number}, share: 0.9, atLeast: 10, confidence: 0.95},
	{tag: TagNationalID, what: "Brazilian tax numbers", is: isCPF, shapes: []shape{text, number}, share: 0.9, atLeast: 10, confidence: 0.9},
	{tag: TagNationalID, what: "Polish identity numbers", is: isPESEL, shapes: []shape{text, number}, share: 0.95, atLeast: 20, confidence: 0.9},
	{tag: TagNationalID, what: "German tax identification numbers", is: isGermanTaxID, shapes: []shape{text, number}, share: 0.95, atLeast: 20, confidence: 0.9},
	{tag: TagNationalID, what: "Dutch citizen service numbers", is: isDutchBSN, shapes: []shape{text, number}, share: 0.97, atLeast: 20, confidence: 0.8},
	{tag: TagNationalID, what: "in the form of United States social security numbers", is: isSSN, shapes: []shape{text}, share: 0.9, atLeast: 5, confidence: 0.85},
	{tag: TagIP, what: "IP addresses", is: isIP, shapes: []shape{text, address}, share: 0.9, atLeast: 5, confidence: 0.9},
	{tag: TagPhone, what: "telephone numbers in international form", is: isInternationalPhone, shapes: []shape{text}, share: 0.8, atLeast: 5, confidence: 0.85},
	{tag: TagPhone, what: "in the form of telephone numbers", is: isNationalPhone, shapes: []shape{text}, share: 0.9, atLeast: 10, confidence: 0.5},
	{tag: TagBirth, what: "dates between 15 and 100 years ago, spread over decades", shapes: []shape{date}, share: 0.95, atLeast: 30, confidence: 0.5, is: longAgo(time.Now())},
}

// byValues proposes a tag from the sampled values of a column, nil if none of
// the detectors fits. Values are compared and forgotten.
func byValues(c connection.Column, values []string) *Proposal {
	kind := shapeOf(c.Type)
	seen := map[string]bool{}
	for _, v := range values {
		if v = strings.TrimSpace(v); v != "" {
			seen[v] = true
		}
	}
	for _, d := range detectors {
		if len(seen) < d.atLeast || !hasShape(d.shapes, kind) {
			continue
		}
		hits, decades := 0, map[string]bool{}
		for v := range seen {
			if d.is(v) {
				hits++
				decades[v[:min(3, len(v))]] = true
			}
		}
		share := float64(hits) / float64(len(seen))
		if share < d.share || kind == date && len(decades) < 4 {
			continue
		}
		return &Proposal{Column: c.Name, Tag: d.tag, Confidence: d.confidence * share, Basis: []Basis{Values},
			Reason: fmt.Sprintf("%d of %d different values in a sample are %s", hits, len(seen), d.what)}
	}
	return nil
}

func hasShape(shapes []shape, s shape) bool {
	for _, have := range shapes {
		if have == s {
			return true
		}
	}
	return false
}

var (
	emailForm         = regexp.MustCompile(`^[\p{L}\p{N}.!#$%&'*+/=?^_{|}~-]{1,64}@([\p{L}\p{N}]([\p{L}\p{N}-]*[\p{L}\p{N}])?\.)+\p{L}{2,}$`)
	internationalForm = regexp.MustCompile(`^(\+|00)[1-9][0-9 ()./-]{6,20}$`)
	nationalForm      = regexp.MustCompile(`^\(?0?[0-9]{2,5}\)?([ ./-]?[0-9]{2,5}){1,5}$`)
	dateForm          = regexp.MustCompile(`^[0-9]{1,4}[./-][0-9]{1,2}[./-][0-9]{1,4}$`)
)

func isEmail(s string) bool { return len(s) <= 254 && emailForm.MatchString(s) }

func isInternationalPhone(s string) bool {
	d, ok := digitsOf(strings.TrimPrefix(s, "+"), " ()./-")
	return ok && internationalForm.MatchString(s) && len(d) >= 8 && len(d) <= 16
}

// isNationalPhone asks for separators: a bare number can be anything.
func isNationalPhone(s string) bool {
	d, ok := digitsOf(s, " ()./-")
	return ok && strings.ContainsAny(s, " ()/-") && len(d) >= 7 && len(d) <= 13 && nationalForm.MatchString(s) && !dateForm.MatchString(s)
}

func isIP(s string) bool {
	s, _, _ = strings.Cut(s, "/")
	a, err := netip.ParseAddr(s)
	return err == nil && !a.IsUnspecified()
}

// longAgo recognises dates on which people who act in business were born.
func longAgo(now time.Time) func(string) bool {
	return func(s string) bool {
		if len(s) < 10 {
			return false
		}
		at, err := time.Parse(time.DateOnly, s[:10])
		return err == nil && at.Before(now.AddDate(-15, 0, 0)) && at.After(now.AddDate(-100, 0, 0))
	}
}
