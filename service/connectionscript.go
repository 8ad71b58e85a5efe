package service

import (
	"context"
	"net/http"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection/setup"
)

// ScriptRequest asks for the script that makes a system account ready, or that removes what it made.
type ScriptRequest struct {
	Connection Connection `json:"connection"`
	// Databases beside the connection's own. Default: all that the connection
	// has, if it is registered.
	Databases                  []string `json:"databases,omitempty"`
	AcceptCreateRoleEscalation bool     `json:"accept_createrole_escalation,omitempty"`
	Removal                    bool     `json:"removal,omitempty"`
}

// ScriptReply holds SQL.
type ScriptReply struct {
	Script string `json:"script"`
}

func (s *Server) setupScript(w http.ResponseWriter, r *http.Request, _ caller) error {
	var req ScriptRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	v := &req.Connection
	k := connectionKind()
	if err := k.check(v); err != nil {
		return withPrefix("connection", err)
	}
	o := setup.ScriptOptions{Target: v.target(), Databases: req.Databases, Views: v.Views, AcceptCreateRoleEscalation: req.AcceptCreateRoleEscalation}
	stored, err := k.find(r.Context(), s.store.pool, k.key(v))
	if err != nil {
		return err
	}
	if stored != nil && stored.Host == v.Host && stored.Port == v.Port {
		o.HasPassword = stored.HasPassword && stored.Username == v.Username
		if len(o.Databases) == 0 {
			o.Databases, err = s.store.openDatabases(r.Context(), stored.ID)
		}
	}
	if err != nil {
		return err
	}
	write := setup.Script
	if req.Removal {
		write = setup.RemovalScript
	}
	script, err := write(o)
	if err != nil {
		return instanceError("connection", err)
	}
	writeJSON(w, http.StatusOK, ScriptReply{Script: script})
	return nil
}

// openDatabases are the databases of a connection that take connections.
func (s *Store) openDatabases(ctx context.Context, connectionID string) ([]string, error) {
	rows, err := s.pool.Query(ctx, `SELECT name FROM portcullis.connection_objects WHERE connection = $1 AND level = 'database' AND dropped IS NULL
		AND coalesce(error->>'code', '') NOT IN ('database_closed', 'database_invalid', 'encoding') ORDER BY name`, connectionID)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
