package service

import (
	"net/http"
	"slices"
	"strings"
)

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
