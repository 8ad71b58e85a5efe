package service

import (
	"net/http"
	"sync"
	"time"
)

// resyncPause is how long nodes are not listened to after they had a data
// source looked at again: a difference that stays would else keep the service busy.
const resyncPause = 3 * time.Second

type resyncRequest struct {
	Node       string `json:"node"`
	DataSource string `json:"data_source"` // uuid
}

type resyncReply struct {
	Asked bool `json:"asked"` // false: it was looked at a moment ago, or is about to be
}

// nodeResync has a data source read again, whose remote columns are not what
// the decision of a statement was made for.
func (s *Server) nodeResync(w http.ResponseWriter, r *http.Request, c caller) error {
	var req resyncRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	if err := sameNode(c, req.Node); err != nil {
		return err
	}
	if !s.resyncs.due(req.DataSource) {
		writeJSON(w, http.StatusOK, resyncReply{})
		return nil
	}
	tag, err := s.store.pool.Exec(r.Context(), `UPDATE portcullis.data_sources SET synced = synced || '{"Resync": true}' WHERE id::text = $1`, req.DataSource)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return notFound("data_source", req.DataSource)
	}
	s.log.Info("a node found a data source changed", "node", c.node, "data_source", req.DataSource)
	s.changed()
	writeJSON(w, http.StatusOK, resyncReply{Asked: true})
	return nil
}

// resyncs remembers when nodes last had data sources read again.
type resyncs struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// due tells whether it is time for another look, and counts it as taken.
func (r *resyncs) due(dataSource string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, at := range r.last {
		if time.Since(at) >= resyncPause {
			delete(r.last, id)
		}
	}
	if _, recent := r.last[dataSource]; recent {
		return false
	}
	if r.last == nil {
		r.last = map[string]time.Time{}
	}
	r.last[dataSource] = time.Now()
	return true
}
