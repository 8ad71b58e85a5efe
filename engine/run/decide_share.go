package run

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// KeySize is the length of a key under which sessions share a decision, bytes.
const KeySize = sha256.Size

// DecisionKeys are the keys of the decisions, and last that of the question as a
// whole: the same for the same data sources in any order.
func DecisionKeys(session *Session, dataSources []string) [][KeySize]byte {
	who := session.identity()
	keys := make([][KeySize]byte, 0, len(dataSources)+1)
	for _, ds := range dataSources {
		keys = append(keys, decisionKey{who, ds}.digest("decision"))
	}
	distinct := slices.Clone(dataSources)
	slices.Sort(distinct)
	return append(keys, decisionKey{who, fmt.Sprintf("%q", slices.Compact(distinct))}.digest("question"))
}

// digest covers every field of the key.
func (k decisionKey) digest(of string) (sum [KeySize]byte) {
	h := sha256.New()
	io.WriteString(h, of)
	fmt.Fprintf(h, " %q %q %q %q %d %d %t %q %q %q", k.service, k.node, k.role, k.database, k.roleOID, k.epoch,
		k.impersonates, k.as.IAMID, k.as.UserID, k.dataSource)
	h.Sum(sum[:0])
	return sum
}

// DecideCached is Decide where every answer is cached; complete says whether.
func (e *Engine) DecideCached(session *Session, dataSources []string) (ticket uint64, complete bool, err error) {
	if err := decidable(session, dataSources); err != nil {
		return 0, false, err
	}
	answers, complete := e.decisions.cached(session.identity(), dataSources)
	if !complete {
		return 0, false, nil
	}
	return e.finished(answers), true, nil
}

// DecideEncoded is a cached decision as DecideOffer of another session takes it, nil:
// there is none. It may be kept for maxAge from when it was asked for. Refusals
// are not shared: who asks again after a grant need not wait for the epoch.
func (e *Engine) DecideEncoded(session *Session, dataSource string) (encoded []byte, maxAge time.Duration) {
	h, ok := e.decisions.cache.Get(decisionKey{session.identity(), dataSource})
	if !ok || !h.decision.Allowed {
		return nil, 0
	}
	encoded, err := json.Marshal(h.decision)
	if err != nil {
		return nil, 0
	}
	return encoded, time.Duration(h.decision.MaxAgeMS) * time.Millisecond
}

// DecideOffer caches what another session was answered, for what is left of its
// time. It is read as carefully as the service's own answer; false: it is of no use.
func (e *Engine) DecideOffer(session *Session, dataSource string, encoded []byte, left time.Duration) bool {
	decision, err := readDecision(encoded, dataSource)
	if err != nil || left > time.Duration(decision.MaxAgeMS)*time.Millisecond {
		return false
	}
	h := e.decisions.hold(decisionKey{session.identity(), dataSource}, decision)
	e.decisions.cache.Put(h.key, h, e.decisions.cache.Now(), left)
	return true
}
