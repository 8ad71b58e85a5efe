package service

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
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

func auditParams() []param {
	return []param{
		{"node", "query", "name of the node"}, {"kind", "query", "intent, completion, denied, login"}, {"person", "query", "userid"},
		{"role", "query", "login role"}, {"data_source", "query", "id or name that the record mentions"}, {"id", "query", "id of the record"},
		{"since", "query", "RFC 3339 time"}, {"limit", "query", "1 to 1000, default 100"},
	}
}

// crud makes the five routes of a kind of resource.
func crud[T any](s *Server, k *kind[T], item string) []route {
	collection := "/v1/" + k.name
	var params []param
	for _, f := range k.keyFields {
		in := "query"
		if strings.Contains(item, "{"+f+"}") {
			in = "path"
		}
		params = append(params, param{f, in, "key of the entry"})
	}
	var none T
	nodes := func(method string) bool { return slices.Contains(k.nodeMethods, method) }
	return []route{
		{method: "GET", path: collection, access: keyOnly, summary: "List " + k.name, reply: []T{}, handle: func(w http.ResponseWriter, r *http.Request, _ caller) error {
			list, err := k.list(r.Context(), s.store.pool, nil)
			if err != nil {
				return err
			}
			if list == nil {
				list = []T{}
			}
			if k.annotate != nil {
				if err := k.annotate(r.Context(), s.store.pool, list); err != nil {
					return err
				}
			}
			writeJSON(w, http.StatusOK, list)
			return nil
		}},
		{method: "POST", path: collection, access: keyOnly, permission: k.permission, summary: "Create one of " + k.name, body: none, reply: none, status: 201, handle: func(w http.ResponseWriter, r *http.Request, c caller) error {
			return create(s, k, w, r, c)
		}},
		{method: "GET", path: item, access: keyOnly, nodes: nodes("GET"), summary: "Read one of " + k.name, reply: none, params: params, handle: func(w http.ResponseWriter, r *http.Request, _ caller) error {
			key := s.keyFrom(r, k.keyFields)
			v, err := k.read(r.Context(), s.store.pool, key)
			if err != nil {
				return err
			}
			if v == nil {
				e := notFound(k.name, strings.Join(key, "/"))
				e.Field = k.keyFields[0]
				return e
			}
			writeJSON(w, http.StatusOK, v)
			return nil
		}},
		{method: "PUT", path: item, access: keyOnly, permission: k.permission, nodes: nodes("PUT"), summary: "Create or replace one of " + k.name, body: none, reply: changeReply{}, params: params, handle: func(w http.ResponseWriter, r *http.Request, c caller) error {
			return put(s, k, w, r, c)
		}},
		{method: "DELETE", path: item, access: keyOnly, permission: k.permission, nodes: nodes("DELETE"), summary: "Delete one of " + k.name, reply: changeReply{}, params: params, handle: func(w http.ResponseWriter, r *http.Request, c caller) error {
			version, err := s.store.Change(r.Context(), c.actor(), func(ch *change) error {
				ch.node = c.key.Node
				return k.delete(r.Context(), ch, s.keyFrom(r, k.keyFields))
			})
			if err != nil {
				return err
			}
			s.changed()
			writeJSON(w, http.StatusOK, changeReply{Version: version, Action: "delete"})
			return nil
		}},
	}
}

// keyFrom reads the parts of a key from path and query.
func (s *Server) keyFrom(r *http.Request, fields []string) []string {
	key := make([]string, len(fields))
	for i, f := range fields {
		key[i] = r.PathValue(f)
		if key[i] == "" {
			key[i] = r.URL.Query().Get(f)
		}
		switch {
		case key[i] != "":
		case f == "iamid":
			key[i] = DefaultIAM
		case f == "node":
			key[i] = s.store.node
		}
	}
	return key
}

func create[T any](s *Server, k *kind[T], w http.ResponseWriter, r *http.Request, c caller) error {
	var v T
	if err := decode(w, r, &v); err != nil {
		return err
	}
	_, err := s.store.Change(r.Context(), c.actor(), func(ch *change) error {
		if err := k.check(&v); err != nil {
			return err
		}
		old, err := k.find(r.Context(), ch, k.key(&v))
		if err != nil {
			return err
		}
		if old != nil {
			return conflict(k.keyFields[0], "%s exists", k.keyText(&v))
		}
		_, err = k.saveOver(r.Context(), ch, &v, nil)
		return err
	})
	if err != nil {
		return err
	}
	s.changed()
	stored, err := k.read(r.Context(), s.store.pool, k.key(&v))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, stored)
	return nil
}

func put[T any](s *Server, k *kind[T], w http.ResponseWriter, r *http.Request, c caller) error {
	_, reply, err := saved(s, k, w, r, c)
	if err == nil {
		writeJSON(w, http.StatusOK, reply)
	}
	return err
}

// saved creates or replaces what a request states.
func saved[T any](s *Server, k *kind[T], w http.ResponseWriter, r *http.Request, c caller) (v T, reply changeReply, err error) {
	if err := decode(w, r, &v); err != nil {
		return v, reply, err
	}
	want := s.keyFrom(r, k.keyFields)
	reply.Version, err = s.store.Change(r.Context(), c.actor(), func(ch *change) (err error) {
		ch.node = c.key.Node
		if err := k.check(&v); err != nil {
			return err
		}
		for i, got := range k.key(&v) {
			if got != want[i] {
				return invalid(k.keyFields[i], "is %q in the body and %q in the path", got, want[i])
			}
		}
		if reply.Action, err = k.save(r.Context(), ch, &v); err == nil {
			err = ch.settle(r.Context())
			reply.Remarks = ch.remarks
		}
		return err
	})
	if err == nil {
		s.changed()
	}
	return v, reply, err
}

// changed wakes what keeps the engine in step.
func (s *Server) changed() {
	if s.engine != nil {
		s.engine.Wake()
	}
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
	reached, err := s.reachConnections(r.Context(), state.Connections, dry)
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

func (s *Server) readAudit(w http.ResponseWriter, r *http.Request, _ caller) error {
	q := r.URL.Query()
	f := AuditFilter{Node: q.Get("node"), Kind: q.Get("kind"), Person: q.Get("person"), Role: q.Get("role"), DataSource: q.Get("data_source"), ID: q.Get("id")}
	var err error
	if f.Limit, err = limitFrom(r); err != nil {
		return err
	}
	if text := q.Get("since"); text != "" {
		if f.Since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return malformed("since", "%q is not an RFC 3339 time", text)
		}
	}
	entries, err := s.store.Audit(r.Context(), f)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, append([]AuditEntry{}, entries...))
	return nil
}

func (s *Server) readHeads(w http.ResponseWriter, r *http.Request, _ caller) error {
	heads, err := s.store.AuditHeads(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, append([]AuditHead{}, heads...))
	return nil
}

func (s *Server) readFindings(w http.ResponseWriter, r *http.Request, _ caller) error {
	limit, err := limitFrom(r)
	if err != nil {
		return err
	}
	findings, err := s.store.AuditFindings(r.Context(), limit)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, append([]AuditFinding{}, findings...))
	return nil
}

func (s *Server) readChain(w http.ResponseWriter, r *http.Request, _ caller) error {
	q := r.URL.Query()
	if q.Get("node") == "" {
		return malformed("node", "is needed as a query parameter")
	}
	after := int64(0)
	limit, err := limitFrom(r)
	if err != nil {
		return err
	}
	if text := q.Get("after"); text != "" {
		if after, err = strconv.ParseInt(text, 10, 64); err != nil {
			return malformed("after", "must be a whole number, not %q", text)
		}
	}
	entries, err := s.store.AuditChain(r.Context(), q.Get("node"), after, limit)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, append([]ChainEntry{}, entries...))
	return nil
}

func limitFrom(r *http.Request) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1000 {
		return 0, malformed("limit", "must be a whole number between 1 and 1000, not %q", text)
	}
	return n, nil
}

func (s *Server) readChanges(w http.ResponseWriter, r *http.Request, _ caller) error {
	limit, err := limitFrom(r)
	if err != nil {
		return err
	}
	entries, err := s.store.Changes(r.Context(), limit)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, append([]ChangeEntry{}, entries...))
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

// Status is what an operator looks at first.
type Status struct {
	Version     int64        `json:"version"`
	People      int64        `json:"people"`
	DataSources int64        `json:"data_sources"`
	Policies    int64        `json:"policies"`
	Audit       int64        `json:"audit_records"` // estimate
	Nodes       []NodeStatus `json:"nodes"`
	Unsynced    []string     `json:"unsynced"` // data sources that the engine does not have as described
	Engine      string       `json:"engine,omitempty"`

	Connections []ConnectionState `json:"connections,omitempty"`
}

// NodeStatus is one engine.
type NodeStatus struct {
	Name     string     `json:"name"`
	LastSeen *time.Time `json:"last_seen,omitempty"` // last token
	Accounts int64      `json:"accounts"`
}

func (s *Server) status(w http.ResponseWriter, r *http.Request, _ caller) error {
	st, err := s.store.Status(r.Context())
	if err != nil {
		return err
	}
	if s.engine != nil {
		st.Engine = s.engine.State()
	}
	writeJSON(w, http.StatusOK, st)
	return nil
}

// Status counts what there is.
func (s *Store) Status(ctx context.Context) (Status, error) {
	st := Status{Nodes: []NodeStatus{}, Unsynced: []string{}}
	err := s.pool.QueryRow(ctx, `SELECT (SELECT version FROM portcullis.policy_version), (SELECT count(*) FROM portcullis.people),
		(SELECT count(*) FROM portcullis.data_sources), (SELECT count(*) FROM portcullis.policies),
		(SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'portcullis.audit_records'::regclass),
		coalesce((SELECT array_agg(name ORDER BY name) FROM portcullis.data_sources WHERE synced IS NULL OR sync_error IS NOT NULL), '{}')`).
		Scan(&st.Version, &st.People, &st.DataSources, &st.Policies, &st.Audit, &st.Unsynced)
	if err != nil {
		return st, err
	}
	rows, err := s.pool.Query(ctx, `SELECT n.name, n.last_seen, (SELECT count(*) FROM portcullis.sql_accounts a WHERE a.node = n.name) FROM portcullis.nodes n ORDER BY 1`)
	if err != nil {
		return st, err
	}
	defer rows.Close()
	for rows.Next() {
		var n NodeStatus
		if err := rows.Scan(&n.Name, &n.LastSeen, &n.Accounts); err != nil {
			return st, err
		}
		st.Nodes = append(st.Nodes, n)
	}
	if err := rows.Err(); err != nil {
		return st, err
	}
	st.Connections, err = s.connectionStates(ctx)
	return st, err
}
