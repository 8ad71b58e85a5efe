package service

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/policy"
)

// connectionRoutes are the API of PostgreSQL connections.
func (s *Server) connectionRoutes() []route {
	name := param{"name", "path", "name of the connection"}
	admin := policy.PermissionSourceAdmin
	routes := []route{
		{method: "GET", path: "/v1/connections/{name}/objects", access: keyOnly, summary: "Databases, schemas and tables of a connection, by name", reply: []Object{}, handle: s.listObjects,
			params: []param{name, {"level", "query", "database, schema or table"}, {"under", "query", "only in this database or schema"}, {"text", "query", "part of the name"},
				{"dropped", "query", "true: also what is no longer there"}, {"after", "query", "name of the last one seen"}, {"after_id", "query", "id of the last one seen"},
				{"limit", "query", "1 to 1000, default 100"}}},
		{method: "GET", path: "/v1/connections/{name}/objects/{id}", access: keyOnly, summary: "One object with its columns", reply: Object{}, handle: answer(s.readObject),
			params: []param{name, {"id", "path", "id or full name"}}},
		{method: "GET", path: "/v1/connections/{name}/status", access: keyOnly, summary: "How a connection stands", reply: ConnectionStatus{}, handle: ofConnection(s.store.ConnectionStatus), params: []param{name}},
		{method: "GET", path: "/v1/connections/{name}/accounts", access: keyOnly, summary: "Who is who on a connection, and who has no account", reply: ConnectionAccounts{}, handle: ofConnection(s.store.ConnectionAccounts), params: []param{name}},
		{method: "GET", path: "/v1/connections/{name}/findings", access: keyOnly, summary: "What people reach beyond the policies, with the statements that a DBA must run", reply: []connection.Excess{},
			handle: ofConnection(s.store.ConnectionFindings), params: []param{name}},
		{method: "GET", path: "/v1/connections/{name}/check", access: keyOnly, permission: admin, summary: "What the system account lacks there now, with the statements that grant it", reply: ConnectionCheck{},
			handle: s.checkConnection, params: []param{name}},
		s.proposalRoute(name),
		{method: "POST", path: "/v1/connections/{name}/instance", access: keyOnly, permission: admin, summary: "Go on with another instance in the place of the one registered: it was upgraded or restored",
			body: InstanceRequest{}, reply: changeReply{}, handle: s.replaceInstance, params: []param{name}},
		{method: "POST", path: "/v1/connections/{name}/sync", access: keyOnly, permission: admin, summary: "Crawl completely and compare now", body: syncRequest{}, reply: SyncReply{}, handle: s.syncConnection, params: []param{name}},
		{method: "POST", path: "/v1/connections/{name}/dry-run", access: keyOnly, permission: admin, summary: "The SQL that would be run now", reply: ScriptReply{}, handle: s.dryRun, params: []param{name}},
		{method: "POST", path: "/v1/connection_script", access: keyOnly, permission: admin, summary: "The SQL with which a DBA makes the system account ready", body: ScriptRequest{}, reply: ScriptReply{}, handle: s.setupScript},
	}
	for _, rt := range crud(s, connectionKind(), "/v1/connections/{name}") {
		switch rt.method {
		case "GET":
			if rt.path == "/v1/connections" {
				rt.handle = s.listConnections
			}
		case "POST":
			rt.handle, rt.reply, rt.summary = s.createConnection, Registered{}, "Register a connection: the instance is reached and checked first"
		case "PUT":
			rt.handle, rt.reply = s.replaceConnection, Replaced{}
		case "DELETE":
			rt.handle, rt.summary = s.deleteConnection, "Take back what a connection gave, then forget it"
			rt.params = append(rt.params, param{"forget", "query", "true: forget it at once and take nothing back"})
		}
		routes = append(routes, rt)
	}
	for _, rt := range crud(s, objectSettingsKind(), "/v1/connection_objects/{name}") {
		if rt.method == "PUT" {
			rt.handle, rt.reply = s.putObject, SettledObject{}
		}
		routes = append(routes, rt)
	}
	routes = append(routes, crud(s, queryAuditKind(), "/v1/connection_query_audits/{connection}")...)
	for _, rt := range crud(s, mappedAccountKind(), "/v1/connection_accounts/{connection}/{userid}") {
		if rt.method == "PUT" {
			rt.handle, rt.reply = s.putMappedAccount, MappedPerson{}
		}
		routes = append(routes, rt)
	}
	return routes
}

// longRequest gives a request that waits for an instance, or changes much, more
// time to answer.
func longRequest(w http.ResponseWriter) error {
	return http.NewResponseController(w).SetWriteDeadline(time.Now().Add(10 * time.Minute))
}

func decodeConnection(w http.ResponseWriter, r *http.Request) (v Connection, err error) {
	if err := decode(w, r, &v); err != nil {
		return v, err
	}
	return v, connectionKind().check(&v)
}

func (s *Server) createConnection(w http.ResponseWriter, r *http.Request, c caller) error {
	k := connectionKind()
	v, err := decodeConnection(w, r)
	if err != nil {
		return err
	}
	if err := longRequest(w); err != nil {
		return err
	}
	own := &turn{of: s.native}
	defer own.end(r.Context())
	if old, err := k.find(r.Context(), s.store.pool, k.key(&v)); err != nil {
		return err
	} else if old != nil {
		e := conflict("name", "%s exists", v.Name)
		e.Hint = "To change it: portcullis connection set " + connection.ShellWord(v.Name)
		return e
	}
	reached, err := s.native.register(r.Context(), &v, nil, nil, own)
	if err != nil {
		return err
	}
	if _, err := s.store.Change(r.Context(), c.actor(), func(ch *change) error {
		_, err := k.saveOver(r.Context(), ch, &v, nil)
		return err
	}); err != nil {
		return err
	}
	stored, err := k.find(r.Context(), s.store.pool, k.key(&v))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, Registered{Connection: *stored, Reached: reached})
	return nil
}

func (s *Server) deleteConnection(w http.ResponseWriter, r *http.Request, c caller) error {
	forget, err := boolFrom(r, "forget")
	if err != nil {
		return err
	}
	name := r.PathValue("name")
	if forget {
		id, err := s.store.forgetConnection(r.Context(), c.actor(), name, true)
		if err != nil {
			return err
		}
		s.native.metrics.deleted(id)
	} else if _, err := s.store.Change(r.Context(), c.actor(), func(ch *change) error {
		return connectionKind().delete(r.Context(), ch, []string{name})
	}); err != nil {
		return err
	}
	version, err := s.store.Version(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, changeReply{Version: version, Action: "delete"})
	return nil
}

// listConnections lists those that are being deleted, too, which no state has.
func (s *Server) listConnections(w http.ResponseWriter, r *http.Request, _ caller) error {
	list, err := everyConnection(r.Context(), s.store.pool, nil)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, listOrEmpty(list))
	return nil
}

func boolFrom(r *http.Request, name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, malformed(name, "must be true or false, not %q", text)
	}
	return v, nil
}

func (s *Server) listObjects(w http.ResponseWriter, r *http.Request, _ caller) error {
	q := r.URL.Query()
	f := ObjectFilter{Level: q.Get("level"), Under: q.Get("under"), Text: q.Get("text"), After: q.Get("after"), AfterID: q.Get("after_id")}
	var err error
	if f.Dropped, err = boolFrom(r, "dropped"); err != nil {
		return err
	}
	if f.AfterID != "" && uuid.Validate(f.AfterID) != nil {
		return malformed("after_id", "%q is not a uuid", f.AfterID)
	}
	if f.Limit, err = limitFrom(r); err != nil {
		return err
	}
	if f.Limit == 0 {
		f.Limit = 100
	}
	if f.Level != "" && !slices.Contains([]string{"database", "schema", "table"}, f.Level) {
		return malformed("level", "must be database, schema or table, not %q", f.Level)
	}
	if err := s.store.mustConnection(r.Context(), r.PathValue("name")); err != nil {
		return err
	}
	if f.Under != "" && f.Under != r.PathValue("name") {
		above, err := s.store.Object(r.Context(), r.PathValue("name"), f.Under)
		if err != nil {
			return err
		}
		f.Under = above.Name
	}
	list, err := s.store.Objects(r.Context(), r.PathValue("name"), f)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, listOrEmpty(list))
	return nil
}

func (s *Store) mustConnection(ctx context.Context, name string) error {
	_, err := s.connectionNamed(ctx, name)
	return err
}

func (s *Store) connectionNamed(ctx context.Context, name string) (Connection, error) {
	list, err := listConnections(ctx, s.pool, []string{name})
	if err == nil && len(list) == 0 {
		err = notFound("connection", name)
	}
	if err != nil {
		return Connection{}, err
	}
	return list[0], nil
}

// answer replies with what is read.
func answer[T any](read func(r *http.Request) (T, error)) func(http.ResponseWriter, *http.Request, caller) error {
	return func(w http.ResponseWriter, r *http.Request, _ caller) error {
		v, err := read(r)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, v)
		return nil
	}
}

// ofConnection answers with what is known of the connection that the path names.
func ofConnection[T any](read func(ctx context.Context, name string) (T, error)) func(http.ResponseWriter, *http.Request, caller) error {
	return answer(func(r *http.Request) (T, error) { return read(r.Context(), r.PathValue("name")) })
}

func (s *Server) readObject(r *http.Request) (Object, error) {
	return s.store.Object(r.Context(), r.PathValue("name"), r.PathValue("id"))
}

// syncRequest asks for a sync; "" is everything.
type syncRequest struct {
	Object string `json:"object,omitempty"` // id or full name of a database, schema or table
}

// SyncReply tells when the sync is done: sync_done of the status is at least Wanted.
type SyncReply struct {
	Wanted int64 `json:"wanted"`
}

func (s *Server) syncConnection(w http.ResponseWriter, r *http.Request, c caller) error {
	var req syncRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	wanted, err := s.store.askSync(r.Context(), c.actor(), r.PathValue("name"), req.Object)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, SyncReply{Wanted: wanted})
	return nil
}

// askSync forgets the digests of what shall be read anew and asks for a crawl.
func (s *Store) askSync(ctx context.Context, actor, name, object string) (wanted int64, err error) {
	_, err = s.Change(ctx, actor, func(c *change) error {
		list, err := listConnections(ctx, c, []string{name})
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return notFound("connection", name)
		}
		id := list[0].ID
		object = connection.Canonical(object)
		tag, err := c.Exec(ctx, `UPDATE portcullis.connection_objects s SET digest = '' WHERE s.connection = $1 AND s.level = 'schema' AND s.dropped IS NULL AND ($2 = '' OR EXISTS
			(SELECT FROM portcullis.connection_objects o WHERE o.connection = $1 AND (o.id::text = $2 OR o.full_name = $2) AND o.dropped IS NULL AND (o.id = s.id OR o.parent = s.id OR s.parent = o.id)))`, id, object)
		if err != nil {
			return err
		}
		if object != "" && tag.RowsAffected() == 0 {
			return notFound("object", object)
		}
		if err := c.QueryRow(ctx, "UPDATE portcullis.connections SET sync_wanted = sync_wanted + 1 WHERE id = $1 RETURNING sync_wanted", id).Scan(&wanted); err != nil {
			return err
		}
		return c.record(ctx, "sync", "connections", name, nil, nil)
	})
	return wanted, err
}
