package service

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"strconv"
	"time"
)

// verifier follows the records of one node in the order of arrival.
type verifier struct {
	NodeAudit
	head     AuditHead
	expected map[int64][]expectation // by number of records
	key      []byte                  // of the node's chain, nil: not given

	digest  []byte // over all records so far
	before  ChainEntry
	missing []seqRange
}

// expectation is a checkpoint's word on the records up to a place.
type expectation struct {
	AuditHead
	made time.Time
}

type seqRange struct{ first, last int64 }

func newVerifier(head AuditHead, checkpoints []Checkpoint, key []byte) *verifier {
	v := &verifier{NodeAudit: NodeAudit{Node: head.Node}, head: head, expected: map[int64][]expectation{}, key: key}
	for _, c := range checkpoints {
		for _, h := range c.Heads {
			if h.Node == head.Node && h.Records > 0 {
				v.expected[h.Records] = append(v.expected[h.Records], expectation{h, c.Made})
			}
		}
	}
	return v
}

func (v *verifier) problem(kind string, first, last int64, format string, args ...any) {
	detail := fmt.Sprintf(format, args...)
	if n := len(v.Problems); n > 0 {
		if p := &v.Problems[n-1]; p.Kind == kind && p.Detail == detail && p.Last+1 == first {
			p.Last = last
			return
		}
	}
	v.Problems = append(v.Problems, AuditProblem{Node: v.Node, Kind: kind, First: first, Last: last, Detail: detail})
}

func (v *verifier) take(e ChainEntry) {
	v.Records++
	v.digest = foldDigest(v.digest, e.Seq, e.Chain, e.Digest)
	if sum := sha256.Sum256(e.Record); !bytes.Equal(sum[:], e.Digest) {
		v.problem("edit", e.Seq, e.Seq, "the record is not what its digest says")
	}
	v.place(e)
	v.chain(e)
	v.before = e
	for _, want := range v.expected[v.Records] {
		if !bytes.Equal(want.Digest, v.digest) {
			v.problem("edit", 0, e.Seq, "the first %d records are not those of the checkpoint of %s", v.Records, want.made.UTC().Format(time.RFC3339))
			continue
		}
		v.Checkpoints++
	}
}

// place keeps account of the sequence numbers that have not come.
func (v *verifier) place(e ChainEntry) {
	switch {
	case e.Seq == 0 && v.head.Seq == 0: // a writer that keeps no chain, such as a connection
	case e.Seq == 0:
		v.problem("gap", 0, 0, "a record has no place in the chain")
	case e.Seq > v.Seq:
		if e.Seq > v.Seq+1 {
			v.missing = append(v.missing, seqRange{v.Seq + 1, e.Seq - 1})
		}
		v.Seq = e.Seq
	case !v.fill(e.Seq):
		v.problem("fork", e.Seq, e.Seq, "two records stand in one place")
	}
}

// fill takes a late record out of what is missing; false: it was not missing.
func (v *verifier) fill(seq int64) bool {
	for i, m := range v.missing {
		if seq < m.first || seq > m.last {
			continue
		}
		var rest []seqRange
		if seq > m.first {
			rest = append(rest, seqRange{m.first, seq - 1})
		}
		if seq < m.last {
			rest = append(rest, seqRange{seq + 1, m.last})
		}
		v.missing = append(v.missing[:i], append(rest, v.missing[i+1:]...)...)
		return true
	}
	return false
}

// chain computes the node's chain value anew where the one before is at hand.
func (v *verifier) chain(e ChainEntry) {
	before := v.before.Chain
	switch {
	case v.key == nil || e.Seq == 0:
		return
	case e.Seq == 1:
		before = make([]byte, sha256.Size)
	case v.before.Seq != e.Seq-1:
		return
	}
	mac := hmac.New(sha256.New, v.key)
	mac.Write(before)
	mac.Write(append(strconv.AppendInt(nil, e.Seq, 10), ' '))
	mac.Write(e.Record)
	if !hmac.Equal(mac.Sum(nil), e.Chain) {
		v.problem("edit", e.Seq, e.Seq, "the record is not what the node wrote: its chain value does not fit")
	}
}

func (v *verifier) finish() NodeAudit {
	for _, m := range v.missing {
		v.problem("gap", m.first, m.last, "these records have not come")
	}
	if v.Records < v.head.Records {
		v.problem("cut", 0, 0, "%d records of %d are there", v.Records, v.head.Records)
	} else if v.head.Records > 0 && !bytes.Equal(v.digest, v.head.Digest) {
		v.problem("edit", 0, 0, "the records do not fit their head")
	}
	for records, list := range v.expected {
		if records > v.Records {
			v.problem("cut", 0, 0, "%d records of %d that were there at %s", v.Records, records, list[0].made.UTC().Format(time.RFC3339))
		}
	}
	return v.NodeAudit
}
