package service

import (
	"net/http"
	"strconv"
	"time"
)

func auditParams() []param {
	return []param{
		{"node", "query", "name of the node"}, {"kind", "query", "intent, completion, denied, login"}, {"person", "query", "userid"},
		{"iamid", "query", "of the person; without it people of every identity provider with that userid"},
		{"role", "query", "login role"}, {"data_source", "query", "id or name that the record mentions"}, {"id", "query", "id of the record"},
		{"since", "query", "RFC 3339 time"}, {"limit", "query", "1 to 1000, default 100"},
	}
}

func (s *Server) readAudit(w http.ResponseWriter, r *http.Request, _ caller) error {
	q := r.URL.Query()
	f := AuditFilter{Node: q.Get("node"), Kind: q.Get("kind"), Person: q.Get("person"), IAMID: q.Get("iamid"), Role: q.Get("role"), DataSource: q.Get("data_source"), ID: q.Get("id")}
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
