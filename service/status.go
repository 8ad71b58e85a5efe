package service

import (
	"context"
	"net/http"
	"time"
)

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
