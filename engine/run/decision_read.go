package run

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"

	"portcullis.dev/portcullis/policy"
)

// readDecisions reads the service's answer for the data sources in the order
// asked. A field, operator or kind that this version does not know could take
// something away from the person, so it refuses the whole answer.
func readDecisions(answer []byte, asked []string) ([]policy.Decision, error) {
	var body struct {
		Version   int64             `json:"version"`
		Decisions []policy.Decision `json:"decisions"`
	}
	decoder := json.NewDecoder(bytes.NewReader(answer))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		return nil, unreadable(err.Error())
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, unreadable("something follows the answer")
	}
	if len(body.Decisions) != len(asked) {
		return nil, unreadable(fmt.Sprintf("%d decisions for %d data sources", len(body.Decisions), len(asked)))
	}
	for i := range body.Decisions {
		d := &body.Decisions[i]
		if d.DataSource != asked[i] {
			return nil, unreadable(fmt.Sprintf("decision %d is for another data source", i))
		}
		if err := check(d); err != nil {
			return nil, unreadable(err.Error())
		}
	}
	return body.Decisions, nil
}

// readDecision reads one decision, as readDecisions does.
func readDecision(encoded []byte, asked string) (*policy.Decision, error) {
	var d policy.Decision
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		return nil, unreadable(err.Error())
	}
	if d.DataSource != asked {
		return nil, unreadable("a shared decision is for another data source")
	}
	if err := check(&d); err != nil {
		return nil, unreadable(err.Error())
	}
	return &d, nil
}

// check refuses what the library could not carry out to the letter.
func check(d *policy.Decision) error {
	if !d.Allowed {
		return nil
	}
	if d.Source == "" || d.RemoteTable == "" || len(d.Columns) == 0 {
		return fmt.Errorf("the decision for %s does not say what the data source is", d.DataSource)
	}
	if l := d.Limits; min(l.Statements, l.Rows, l.Bytes, l.Seconds) < 0 || l.Statements > math.MaxInt32 {
		return fmt.Errorf("the limits of %s are out of range", d.DataSource)
	}
	if _, err := d.Filter.Compile(d.Columns); err != nil {
		return fmt.Errorf("row filter of %s: %w", d.DataSource, err)
	}
	types := make(map[string]string, len(d.Columns))
	for _, c := range d.Columns {
		types[c.Name] = c.Type
	}
	for column, mask := range d.Masks {
		of, known := types[column]
		if !known {
			return fmt.Errorf("mask of %s on a column that is not in its dictionary", d.DataSource)
		}
		if err := mask.Validate(of); err != nil {
			return fmt.Errorf("mask of %s: %w", d.DataSource, err)
		}
		if mask.Kind == policy.MaskHash && len(mask.Key) < minKey {
			return fmt.Errorf("mask of %s: a hash needs a key of at least %d bytes", d.DataSource, minKey)
		}
	}
	return nil
}

// minKey is the length of the shortest hash key that is taken, bytes.
const minKey = 16

// digest is equal for decisions under which a person sees the same. How long
// it may be kept and which version of which policy said so is left out: a
// change that does not touch the person ends none of their statements.
func digest(d *policy.Decision) uint64 {
	same := *d
	same.MaxAgeMS, same.Version, same.Policies = 0, 0, nil
	if d.Masks != nil {
		same.Masks = make(map[string]policy.Mask, len(d.Masks))
		for column, mask := range d.Masks {
			mask.Policy = ""
			same.Masks[column] = mask
		}
	}
	text, err := json.Marshal(same) // maps are written in order of their keys
	if err != nil {
		panic(err) // plain data always marshals
	}
	sum := sha256.Sum256(text)
	return binary.LittleEndian.Uint64(sum[:8])
}
