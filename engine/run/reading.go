package run

import (
	"portcullis.dev/portcullis/engine/mask"
	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/odbc"
)

// reading is a remote statement and what is done to its rows here.
type reading struct {
	statement *fdw.Statement
	columns   []odbc.Column
	transform *mask.Transform // used by one fetch at a time; nil: rows are shown as they come
}

// relation names a remote table.
type relation struct {
	server       uint32
	schema, name string
}

func (s *Scan) relation() relation {
	return relation{s.source.ServerOID, s.table.RemoteSchema, s.table.RemoteName}
}

// indirect tells whether a table's columns once were not described as was hoped for.
func (e *Engine) indirect(r relation) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.undirected[r]
}

// otherwise has the scan read in another way, since the columns are not described as was
// hoped for. Later scans of the session read the table so from the beginning.
func (s *Scan) otherwise() error {
	s.engine.mu.Lock()
	s.engine.undirected[s.relation()] = true
	s.engine.mu.Unlock()
	request := s.request
	request.Indirect = true
	r, err := s.read(request)
	if err == nil {
		s.reading.Store(r)
	}
	return err
}
