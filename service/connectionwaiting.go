package service

import (
	"context"
	"net/http"

	"github.com/jackc/pgx/v5"
)

// WaitingObject says which settings count for nothing yet: those of an object
// that was not seen, or tags of columns that it does not have.
type WaitingObject struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns,omitempty"` // none: the object itself is not there
}

// SettledObject is the answer to settings of an object.
type SettledObject struct {
	changeReply
	Waiting        bool     `json:"waiting,omitempty"`         // there is no such object: they wait for it
	UnknownColumns []string `json:"unknown_columns,omitempty"` // it has no such columns: their tags wait for them
}

// waitingObjects lists what waits at a connection, or at all that were looked
// at; object is "" or a full name.
func waitingObjects(ctx context.Context, q querier, connection, object string) ([]WaitingObject, error) {
	rows, err := q.Query(ctx, `
		SELECT w.full_name, '{}'::text[] FROM portcullis.connection_waiting w JOIN portcullis.connections c ON c.id = w.connection AND NOT c.deleting
			WHERE ($1 = '' OR c.name = $1) AND ($2 = '' OR w.full_name = $2) AND ($2 <> '' OR EXISTS (SELECT FROM portcullis.connection_objects o WHERE o.connection = c.id))
		UNION ALL
		SELECT o.full_name, array_agg(k ORDER BY k) FROM portcullis.connection_objects o JOIN portcullis.connections c ON c.id = o.connection AND NOT c.deleting,
				jsonb_object_keys(o.column_tags) k
			WHERE ($1 = '' OR c.name = $1) AND ($2 = '' OR o.full_name = $2) AND o.dropped IS NULL AND o.column_tags <> '{}'
				AND NOT EXISTS (SELECT FROM `+elementsSQL("o.columns")+` x WHERE x->>'name' = k)
			GROUP BY o.full_name
		ORDER BY 1 LIMIT $3`, connection, object, maxListed)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (w WaitingObject, err error) {
		return w, r.Scan(&w.Name, &w.Columns)
	})
}

// putObject says with its answer whether the settings wait for something.
func (s *Server) putObject(w http.ResponseWriter, r *http.Request, c caller) error {
	o, reply, err := saved(s, objectSettingsKind(), w, r, c)
	if err != nil {
		return err
	}
	settled := SettledObject{changeReply: reply}
	list, err := waitingObjects(r.Context(), s.store.pool, "", o.Name)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		settled.Waiting, settled.UnknownColumns = len(list[0].Columns) == 0, list[0].Columns
	}
	writeJSON(w, http.StatusOK, settled)
	return nil
}
