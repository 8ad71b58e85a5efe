package run

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"portcullis.dev/portcullis/cache"
	"portcullis.dev/portcullis/policy"
)

const (
	cachedDecisions = 2048
	heldDecisions   = 4096 // by id; far more than the tables of any statement
)

// decisionKey is every input that a decision reads on this side.
type decisionKey struct {
	identity
	dataSource string
}

// held is a decision in this backend. A plan or a scan knows it by its id;
// the content never leaves Go memory.
type held struct {
	id       uint64
	key      decisionKey
	digest   uint64
	decision *policy.Decision
}

// Decision is what the shim learns of a decision.
type Decision struct {
	ID      uint64 // 0: denied
	Digest  uint64
	Allowed bool
	Denial  *Error // where not allowed

	MaxStatements int32  // of the person that may read the source at once, 0: any number
	LimitKey      uint64 // names person and source
}

// decisions asks the service and keeps what it answered.
type decisions struct {
	service *service
	cache   *cache.Cache[decisionKey, *held]

	mu     sync.Mutex
	lastID uint64
	byID   *lru.Cache[uint64, *held]
}

func newDecisions(caFile string) (*decisions, error) {
	s, err := newService(caFile)
	if err != nil {
		return nil, err
	}
	d := &decisions{service: s}
	if d.cache, err = cache.New[decisionKey, *held](cachedDecisions, cache.NewClock()); err != nil {
		return nil, err
	}
	d.byID, err = lru.New[uint64, *held](heldDecisions)
	return d, err
}

// Decide decides all tables of a statement. The ticket is done at once when
// every answer is cached. Without a lease nothing is decided: the service may
// have revoked what is cached.
func (e *Engine) Decide(session *Session, dataSources []string) (uint64, error) {
	if err := decidable(session, dataSources); err != nil {
		return 0, err
	}
	who := session.identity()
	if answers, complete := e.decisions.cached(who, dataSources); complete {
		return e.finished(answers), nil
	}
	kept := *session
	return e.start("decision", func(ctx context.Context) (any, error) {
		return e.decisions.ask(ctx, e.ctx, &kept, who, dataSources)
	}), nil
}

// decidable refuses what is not decided, cached or not.
func decidable(session *Session, dataSources []string) error {
	if session.Lease <= 0 {
		return &Error{
			State:   stateSystem,
			Message: "the policy service has not been heard for too long",
			Detail:  "A node that is cut off from the policy service starts no statement over governed tables.",
			Hint:    "Try again; if it stays, an administrator looks at immutasys.status().",
		}
	}
	if err := session.reachable(); err != nil {
		return err
	}
	if len(dataSources) > heldDecisions/4 {
		return &Error{State: "54000", Message: fmt.Sprintf("the statement names more than %d governed tables", heldDecisions/4)}
	}
	return nil
}

// DecideResult returns the answers in the order asked; done is false while the service is asked.
func (e *Engine) DecideResult(ticket uint64) (answers []Decision, done bool, err error) {
	value, err, done := e.take(ticket)
	if err != nil || !done {
		return nil, done, err
	}
	found, ok := value.([]*held)
	if !ok {
		return nil, true, &Error{State: stateInternal, Message: "the ticket is of another kind"}
	}
	answers = make([]Decision, len(found))
	for i, h := range found {
		answers[i] = Decision{ID: h.id, Digest: h.digest, Allowed: h.decision.Allowed}
		if !h.decision.Allowed {
			answers[i].ID, answers[i].Denial = 0, denial(h.decision)
			continue
		}
		if most := h.decision.Limits.Statements; most > 0 {
			answers[i].MaxStatements, answers[i].LimitKey = int32(most), limitKey(h.decision)
		}
	}
	return answers, true, nil
}

// FlushDecisions forgets what is cached; ids given out stay good.
func (e *Engine) FlushDecisions() { e.decisions.cache.Flush() }

// cached looks all answers up; complete says that none is missing and that
// all were made from one policy version.
func (d *decisions) cached(who identity, dataSources []string) (answers []*held, complete bool) {
	answers = make([]*held, len(dataSources))
	for i, ds := range dataSources {
		h, ok := d.cache.Get(decisionKey{who, ds})
		if !ok || h.decision.Version != firstVersion(answers, h) {
			return nil, false
		}
		answers[i] = h
	}
	return answers, true
}

func firstVersion(answers []*held, otherwise *held) int64 {
	if answers[0] != nil {
		return answers[0].decision.Version
	}
	return otherwise.decision.Version
}

// ask gets all answers in one call, so that one policy version decides the
// whole statement. The same question asked twice at once is sent once; the
// request goes on when one asker gives up, since its answer serves the others.
func (d *decisions) ask(ctx, process context.Context, session *Session, who identity, dataSources []string) ([]*held, error) {
	distinct := slices.Clone(dataSources)
	slices.Sort(distinct)
	distinct = slices.Compact(distinct)
	name := fmt.Sprintf("%#v %q", who, distinct)
	value, err := d.cache.Once(name, func() (any, error) {
		return d.fetch(process, session, who, distinct)
	})
	if ctx.Err() != nil {
		return nil, canceled()
	}
	if err != nil {
		return nil, err
	}
	byName := value.(map[string]*held)
	answers := make([]*held, len(dataSources))
	for i, ds := range dataSources {
		answers[i] = byName[ds]
	}
	return answers, nil
}

type decisionsRequest struct {
	Node        string         `json:"node"`
	Role        string         `json:"role"`
	RoleOID     uint32         `json:"role_oid"`
	Database    string         `json:"database"`
	Impersonate *Impersonation `json:"impersonate,omitempty"`
	DataSources []string       `json:"data_sources"`
}

func (d *decisions) fetch(ctx context.Context, session *Session, who identity, dataSources []string) (map[string]*held, error) {
	body, err := json.Marshal(decisionsRequest{
		Node: session.Node, Role: session.Role, RoleOID: session.RoleOID, Database: session.Database,
		Impersonate: session.Impersonate, DataSources: dataSources,
	})
	if err != nil {
		return nil, fmt.Errorf("compose the request for decisions: %w", err)
	}
	asked := d.cache.Now()
	status, answer, err := d.service.call(ctx, session, http.MethodPost, "/v1/node/decisions", body)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, refused(status, answer)
	}
	decided, err := readDecisions(answer, dataSources)
	if err != nil {
		return nil, err
	}
	found := make(map[string]*held, len(decided))
	for i := range decided {
		h := d.hold(decisionKey{who, dataSources[i]}, &decided[i])
		d.cache.Put(h.key, h, asked, time.Duration(decided[i].MaxAgeMS)*time.Millisecond)
		found[dataSources[i]] = h
	}
	return found, nil
}

func (d *decisions) hold(key decisionKey, decision *policy.Decision) *held {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lastID++
	h := &held{id: d.lastID, key: key, digest: digest(decision), decision: decision}
	d.byID.Add(h.id, h)
	return h
}

// recent finds what was last answered for a data source, for the audit: also
// answers that may not be used any more.
func (d *decisions) recent(who identity, dataSource string) (*held, bool) {
	key := decisionKey{who, dataSource}
	ids := d.byID.Keys()
	for i := len(ids) - 1; i >= 0; i-- {
		if h, ok := d.byID.Peek(ids[i]); ok && h.key == key {
			return h, true
		}
	}
	return nil, false
}

// forScan returns the decision that a scan names, for the same person, the
// same circumstances and the same data source only.
func (d *decisions) forScan(id uint64, session *Session, dataSource string) (*held, error) {
	h, ok := d.byID.Get(id)
	if !ok {
		return nil, &Error{State: stateDenied, Message: "the decision that this scan names is not known any more", Hint: "Run the statement again."}
	}
	want := decisionKey{session.identity(), dataSource}
	want.epoch = h.key.epoch // moved epochs are compared block by block, by digest
	if h.key != want || !h.decision.Allowed {
		return nil, &Error{State: stateDenied, Message: "the decision that this scan names was made for something else", Hint: "Run the statement again."}
	}
	return h, nil
}

// denial is a refusal as the person reads it; the shim adds which table it is. That of a table which is not
// discoverable reads like that of a missing one and says nothing else.
func denial(d *policy.Decision) *Error {
	if !d.Discoverable {
		return &Error{State: stateUndefinedTable, Message: "relation does not exist"}
	}
	e := &Error{State: stateDenied, Message: "permission denied", Detail: d.Reason}
	if d.Contact != "" {
		e.Hint = "Ask " + strings.TrimSuffix(d.Contact, ".") + " for access."
	}
	return e
}
