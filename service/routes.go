package service

import (
	"net/http"
	"strconv"
	"time"

	"portcullis.dev/portcullis/policy"
)

// changeReply answers every change.
type changeReply struct {
	Version int64  `json:"version"`          // policy version from which it holds
	Action  string `json:"action,omitempty"` // create, update, delete, "" unchanged

	Remarks []Remark `json:"remarks,omitempty"` // what a policy names and nothing has
}

// allRoutes is the whole API; the OpenAPI document is made of it.
func (s *Server) allRoutes() []route {
	routes := []route{
		{method: "GET", path: "/v1/openapi.json", summary: "This document", reply: map[string]any{}, handle: s.openapi},
		{method: "POST", path: "/v1/token", summary: "Exchange a node's API key for a token of five minutes", body: tokenRequest{}, reply: tokenReply{}, handle: s.token},
		{method: "POST", path: "/v1/node/decisions", access: tokenOnly, summary: "Decide all tables of a statement", body: DecisionRequest{}, reply: DecisionReply{}, handle: s.decisions},
		{method: "POST", path: "/v1/node/login", access: tokenOnly, summary: "Check whether an account may log in", body: loginRequest{}, reply: LoginReply{}, handle: s.login},
		{method: "POST", path: "/v1/node/resync", access: tokenOnly, summary: "Look at a source again whose columns a statement found changed", body: resyncRequest{}, reply: resyncReply{}, handle: s.nodeResync},
		{method: "GET", path: "/v1/node/events", access: tokenOnly, summary: "Stream of JSON lines: versions, accounts, heartbeats", reply: event{},
			params: []param{{"node", "query", "name of the node"}}, handle: s.events},
		{method: "POST", path: "/v1/audit/records", access: tokenOnly, summary: "Store audit records, one JSON object a line, idempotently", reply: AuditReply{}, handle: s.audit},
		{method: "GET", path: "/v1/audit", access: keyOnly, permission: policy.PermissionAudit, summary: "Newest audit records", reply: []AuditEntry{}, params: auditParams(), handle: s.readAudit},
		{method: "GET", path: "/v1/audit/heads", access: keyOnly, permission: policy.PermissionAudit, summary: "How far the audit chain of each node has come", reply: []AuditHead{}, handle: s.readHeads},
		{method: "GET", path: "/v1/audit/findings", access: keyOnly, permission: policy.PermissionAudit, summary: "Newest gaps, late records, forks and edits in audit chains", reply: []AuditFinding{},
			params: []param{{"limit", "query", "1 to 1000, default 100"}}, handle: s.readFindings},
		{method: "GET", path: "/v1/audit/chain", access: keyOnly, permission: policy.PermissionAudit, summary: "Records of a node in the order of arrival, with their place in its chain", reply: []ChainEntry{},
			params: []param{{"node", "query", "name of the node"}, {"after", "query", "arrival of the last record read"}, {"limit", "query", "1 to 1000, default 1000"}}, handle: s.readChain},
		{method: "GET", path: "/v1/changes", access: keyOnly, permission: policy.PermissionAudit, summary: "Newest changes made through the service", reply: []ChangeEntry{},
			params: []param{{"limit", "query", "1 to 1000, default 100"}}, handle: s.readChanges},
		{method: "GET", path: "/v1/explain", access: keyOnly, permission: policy.PermissionGovernance, nodes: true, summary: "Explain the decision for a person and a data source", reply: Explanation{},
			params: []param{{"user", "query", "userid"}, {"iamid", "query", "identity manager, default local"}, {"data_source", "query", "name or id"}}, handle: s.explain},
		{method: "GET", path: "/v1/status", access: keyOnly, summary: "Version, nodes and counts", reply: Status{}, handle: s.status},
		{method: "GET", path: "/v1/state", access: keyOnly, permission: policy.PermissionAdmin, summary: "Everything as a state, without secrets", reply: State{}, handle: s.readState},
		{method: "POST", path: "/v1/state", access: keyOnly, summary: "Make the sections of a state so; all or nothing", body: State{}, reply: ApplyReply{},
			params: []param{{"dry_run", "query", "true: only tell the difference"}}, handle: s.apply},
		{method: "GET", path: "/v1/api_keys", access: keyOnly, permission: policy.PermissionAdmin, summary: "List API keys", reply: []APIKey{}, handle: s.listKeys},
		{method: "POST", path: "/v1/api_keys", access: keyOnly, permission: policy.PermissionAdmin, summary: "Make an API key; it is shown once", body: apiKeyRequest{}, reply: APIKey{}, status: 201, handle: s.createKey},
		{method: "DELETE", path: "/v1/api_keys/{name}", access: keyOnly, permission: policy.PermissionAdmin, summary: "Revoke an API key and its tokens", reply: changeReply{},
			params: []param{{"name", "path", "name of the key"}}, handle: s.deleteKey},
		{method: "POST", path: "/v1/people/{userid}/sql-account", access: keyOnly, permission: policy.PermissionUserAdmin, summary: "Create a login role of the engine for a person",
			body: accountRequest{}, reply: changeReply{}, params: []param{{"userid", "path", "userid"}, {"iamid", "query", "identity manager, default local"}}, handle: s.createAccount},
		{method: "POST", path: "/v1/data_sources/{name}/sync", access: keyOnly, permission: policy.PermissionSourceAdmin, summary: "Look at the source again: make the engine's foreign table anew",
			reply: changeReply{}, params: []param{{"name", "path", "name or id"}}, handle: s.resync},
	}
	routes = append(routes, crud(s, groupKind(), "/v1/groups/{name}")...)
	routes = append(routes, crud(s, personKind(), "/v1/people/{userid}")...)
	routes = append(routes, crud(s, sourceKind(), "/v1/sources/{name}")...)
	routes = append(routes, crud(s, dataSourceKind(), "/v1/data_sources/{name}")...)
	routes = append(routes, crud(s, policyKind(), "/v1/policies/{name}")...)
	routes = append(routes, crud(s, subscriptionKind(), "/v1/subscriptions/{data_source}/{userid}")...)
	routes = append(routes, crud(s, s.store.accountKind(), "/v1/sql_accounts/{role}")...)
	return append(routes, s.connectionRoutes()...)
}

type accountRequest struct {
	Role     string  `json:"role"`
	Node     string  `json:"node,omitempty"`
	Password *string `json:"password,omitempty"`
}

func (s *Server) createAccount(w http.ResponseWriter, r *http.Request, c caller) error {
	var req accountRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	key := s.keyFrom(r, []string{"userid", "iamid"})
	a := Account{Node: req.Node, Role: req.Role, UserID: key[0], IAMID: key[1], Password: req.Password}
	var action string
	version, err := s.store.Change(r.Context(), c.actor(), func(ch *change) error {
		p, err := findSubject(r.Context(), ch, key[1], key[0])
		if err != nil {
			return err
		}
		if p == nil {
			return notFound("userid", key[0])
		}
		k := s.store.accountKind()
		if err := k.check(&a); err != nil {
			return err
		}
		old, err := k.find(r.Context(), ch, k.key(&a))
		if err != nil {
			return err
		}
		if old != nil && (old.UserID != a.UserID || old.IAMID != a.IAMID) {
			return conflict("role", "the role %q belongs to %q", a.Role, old.UserID)
		}
		action, err = k.save(r.Context(), ch, &a)
		return err
	})
	if err != nil {
		return err
	}
	if s.engine != nil && a.Node == s.store.node {
		if err := s.engine.SyncAccounts(r.Context()); err != nil {
			s.log.Warn("account will be made later", "role", a.Role, "error", err)
			s.engine.Wake()
		}
	}
	writeJSON(w, http.StatusOK, changeReply{Version: version, Action: action})
	return nil
}

func (s *Server) resync(w http.ResponseWriter, r *http.Request, c caller) error {
	name := r.PathValue("name")
	version, err := s.store.Change(r.Context(), c.actor(), func(ch *change) error {
		tag, err := ch.Exec(r.Context(), `UPDATE portcullis.data_sources SET synced = synced || '{"Resync": true}' WHERE name = $1 OR id::text = $1`, name)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return notFound("data_source", name)
		}
		return ch.record(r.Context(), "resync", "data_sources", name, nil, nil)
	})
	if err != nil {
		return err
	}
	s.changed()
	writeJSON(w, http.StatusOK, changeReply{Version: version, Action: "update"})
	return nil
}

func (s *Server) apply(w http.ResponseWriter, r *http.Request, c caller) error {
	dry := false
	if text := r.URL.Query().Get("dry_run"); text != "" {
		var err error
		if dry, err = strconv.ParseBool(text); err != nil {
			return malformed("dry_run", "must be true or false, not %q", text)
		}
	}
	var state State
	if err := decode(w, r, &state); err != nil {
		return err
	}
	for _, p := range s.store.permissionsFor(state) {
		if !c.allowed(p) {
			return forbidden("Authorization", "the API key %q lacks permission %s", c.key.Name, p)
		}
	}
	if err := longRequest(w); err != nil {
		return err
	}
	var own *turn
	if !dry {
		own = &turn{of: s.native}
		defer own.end(r.Context())
	}
	reached, err := s.reachConnections(r.Context(), state.Connections, own)
	if err != nil {
		return err
	}
	reply, err := s.store.Apply(r.Context(), c.actor(), state, dry)
	if err != nil {
		return err
	}
	reply.Reached = reached
	s.changed()
	writeJSON(w, http.StatusOK, reply)
	return nil
}

func (s *Server) readState(w http.ResponseWriter, r *http.Request, _ caller) error {
	st, err := s.store.State(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, st)
	return nil
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request, _ caller) error {
	q := r.URL.Query()
	for _, f := range []string{"user", "data_source"} {
		if q.Get(f) == "" {
			return malformed(f, "is needed as a query parameter")
		}
	}
	iamid := q.Get("iamid")
	if iamid == "" {
		iamid = DefaultIAM
	}
	e, err := s.store.Explain(r.Context(), iamid, q.Get("user"), q.Get("data_source"), s.now())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, e)
	return nil
}

type apiKeyRequest struct {
	Name        string              `json:"name"`
	Node        string              `json:"node,omitempty"`
	Permissions []policy.Permission `json:"permissions,omitempty"`
	Expires     *time.Time          `json:"expires,omitempty"`
}

func (s *Server) createKey(w http.ResponseWriter, r *http.Request, c caller) error {
	var req apiKeyRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	k, err := s.store.CreateAPIKey(r.Context(), c.actor(), APIKey{Name: req.Name, Node: req.Node, Permissions: req.Permissions, Expires: req.Expires}, false)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, k)
	return nil
}

func (s *Server) listKeys(w http.ResponseWriter, r *http.Request, _ caller) error {
	keys, err := s.store.APIKeys(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, append([]APIKey{}, keys...))
	return nil
}

func (s *Server) deleteKey(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := s.store.DeleteAPIKey(r.Context(), c.actor(), r.PathValue("name")); err != nil {
		return err
	}
	v, err := s.store.Version(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, changeReply{Version: v, Action: "delete"})
	return nil
}
