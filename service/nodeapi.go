package service

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/policy"
)

// loginTTL is how long a node may keep the answer to a login check. Changes
// are pushed; this bounds what a lost push may do.
const loginTTL = 30 * time.Second

type tokenRequest struct {
	APIKey string `json:"api_key"`
	Node   string `json:"node"`
}

type tokenReply struct {
	Token       string `json:"token"`
	ExpiresInMS int64  `json:"expires_in_ms"`
}

type loginRequest struct {
	Node string `json:"node"`
	Role string `json:"role"`
}

// LoginReply says whether an account may log in.
type LoginReply struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"`
	Hint   string `json:"hint,omitempty"`
	TTLMS  int64  `json:"ttl_ms"`
}

func (s *Server) token(w http.ResponseWriter, r *http.Request, _ caller) error {
	var req tokenRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	if req.APIKey == "" {
		return invalid("api_key", "must not be empty")
	}
	text, err := s.store.MakeToken(r.Context(), req.APIKey, req.Node, TokenLife)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, tokenReply{Token: text, ExpiresInMS: TokenLife.Milliseconds()})
	return nil
}

// sameNode refuses a request that names another node than the token's.
func sameNode(c caller, node string) error {
	if node != c.node {
		return forbidden("node", "the token is bound to another node than %q", node)
	}
	return nil
}

func (s *Server) decisions(w http.ResponseWriter, r *http.Request, c caller) error {
	var req DecisionRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	if err := sameNode(c, req.Node); err != nil {
		return err
	}
	reply, err := s.store.Decide(r.Context(), req, s.now())
	if err != nil {
		return err
	}
	for _, d := range reply.Decisions {
		s.metrics.decided.Inc()
		if !d.Allowed {
			s.metrics.denied.Inc()
		}
	}
	writeJSON(w, http.StatusOK, reply)
	return nil
}

func (s *Server) login(w http.ResponseWriter, r *http.Request, c caller) error {
	var req loginRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	if err := sameNode(c, req.Node); err != nil {
		return err
	}
	if req.Role == "" {
		return invalid("role", "must not be empty")
	}
	p, err := accountPerson(r.Context(), s.store.pool, req.Node, req.Role, 0)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, loginAnswer(req.Role, p))
	return nil
}

func loginAnswer(role string, p *policy.Person) LoginReply {
	a := LoginReply{TTLMS: loginTTL.Milliseconds()}
	switch {
	case p == nil:
		a.Reason = "account \"" + role + "\" belongs to no person"
		a.Hint = "Ask an administrator of Portcullis for an SQL account."
	case p.Status != policy.StatusActive:
		a.Reason = p.UserID + " is not active"
		a.Hint = "Ask an administrator of Portcullis."
	default:
		a.OK = true
	}
	return a
}

func (s *Server) audit(w http.ResponseWriter, r *http.Request, c caller) error {
	reply, err := s.store.StoreAudit(r.Context(), c.node, http.MaxBytesReader(w, r.Body, maxRecords))
	if err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			return bodyError(err)
		}
		return err
	}
	s.metrics.records.Add(float64(reply.Stored))
	for _, f := range reply.Findings {
		s.metrics.findings.WithLabelValues(f.Kind).Inc()
		s.log.Warn("the audit chain of a node is not whole", "node", f.Node, "kind", f.Kind, "first", f.First, "last", f.Last, "detail", f.Detail)
	}
	writeJSON(w, http.StatusOK, reply)
	return nil
}

// event is one line of the stream.
type event struct {
	Type    string `json:"type"`
	Version *int64 `json:"version,omitempty"`
	Role    string `json:"role,omitempty"`
	OK      *bool  `json:"ok,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Hint    string `json:"hint,omitempty"`
	TTLMS   int64  `json:"ttl_ms,omitempty"`
}

// heartbeatEvery is short against the shortest lease of a node, a second.
const heartbeatEvery = 300 * time.Millisecond

// events streams version and account changes to a node until its token ends
// or the service's database is lost: a node must not believe in a service
// that could not tell it of a revoke.
func (s *Server) events(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := sameNode(c, r.URL.Query().Get("node")); err != nil {
		return err
	}
	st := &stream{server: s, node: c.node, token: c.token, out: http.NewResponseController(w), enc: json.NewEncoder(w)}
	ctx, cancel := context.WithDeadline(r.Context(), c.expires)
	defer cancel()
	accounts, err := s.store.accountStates(ctx, c.node)
	if err != nil {
		return err
	}
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	st.accounts = accounts
	if err := st.run(ctx); err != nil && ctx.Err() == nil {
		s.log.Info("event stream ended", "node", c.node, "error", err)
	}
	return nil
}

type stream struct {
	server   *Server
	node     string
	token    string
	out      *http.ResponseController
	enc      *json.Encoder
	accounts map[string]LoginReply
	sent     int64 // version
}

func (st *stream) run(ctx context.Context) error {
	for role, a := range st.accounts {
		if !a.OK {
			if err := st.sendAccount(role, a); err != nil {
				return err
			}
		}
	}
	beat := time.NewTicker(heartbeatEvery)
	defer beat.Stop()
	for {
		version, healthy, changed := st.server.watch.state()
		if healthy && version != st.sent && version != 0 {
			if err := st.sendVersion(ctx, version); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-st.server.closing:
			return nil
		case <-changed:
		case <-beat.C:
			if _, healthy, _ := st.server.watch.state(); !healthy {
				continue // no heartbeat: the node's lease must run out
			}
			if err := st.send(event{Type: "heartbeat"}); err != nil {
				return err
			}
		}
	}
}

// sendVersion tells of revoked accounts first, so that none is forgotten when
// the stream breaks after the version.
func (st *stream) sendVersion(ctx context.Context, version int64) error {
	if _, _, err := st.server.store.NodeOf(ctx, st.token); err != nil {
		return err // the key was revoked
	}
	now, err := st.server.store.accountStates(ctx, st.node)
	if err != nil {
		return err
	}
	for role, was := range st.accounts {
		if _, still := now[role]; !still && was.OK {
			if err := st.sendAccount(role, loginAnswer(role, nil)); err != nil {
				return err
			}
		}
	}
	for role, a := range now {
		if was, known := st.accounts[role]; !known || was != a {
			if err := st.sendAccount(role, a); err != nil {
				return err
			}
		}
	}
	st.accounts, st.sent = now, version
	return st.send(event{Type: "version", Version: &version})
}

func (st *stream) sendAccount(role string, a LoginReply) error {
	return st.send(event{Type: "account", Role: role, OK: &a.OK, Reason: a.Reason, Hint: a.Hint, TTLMS: a.TTLMS})
}

func (st *stream) send(e event) error {
	if err := st.out.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if err := st.enc.Encode(e); err != nil {
		return err
	}
	return st.out.Flush()
}

// accountStates answers the login check for all accounts of a node.
func (s *Store) accountStates(ctx context.Context, node string) (map[string]LoginReply, error) {
	rows, err := s.pool.Query(ctx, `SELECT a.role, p.userid, p.status FROM portcullis.sql_accounts a JOIN portcullis.people p ON p.id = a.person_id WHERE a.node = $1`, node)
	if err != nil {
		return nil, err
	}
	states := map[string]LoginReply{}
	var role string
	var p policy.Person
	_, err = pgx.ForEachRow(rows, []any{&role, &p.UserID, &p.Status}, func() error {
		states[role] = loginAnswer(role, &p)
		return nil
	})
	return states, err
}
