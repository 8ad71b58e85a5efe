package service

import (
	"context"
	"fmt"
	"net/http"

	"portcullis.dev/portcullis/connection"
)

// InstanceRequest names the instance that is now where a connection's was.
type InstanceRequest struct {
	SystemID string `json:"system_id"`      // that answers there: a slip would hand the roles of one instance to another
	Host     string `json:"host,omitempty"` // where it is, default as before
	Port     int    `json:"port,omitempty"`
}

// sameInstance makes sure that the instance is the one that was registered.
func (s *Store) sameInstance(ctx context.Context, c Connection, server connection.Server) error {
	if c.systemID == server.SystemID {
		return nil
	}
	if err := anotherInstance(c, server); err != nil {
		return err
	}
	_, err := s.pool.Exec(ctx, "UPDATE portcullis.connections SET system_id = $2 WHERE id = $1 AND system_id IS NULL", c.ID, server.SystemID)
	return sameInstanceTwice(&c, err)
}

// anotherInstance is the error of an instance that is not the one registered.
func anotherInstance(c Connection, server connection.Server) error {
	if c.systemID == "" || c.systemID == server.SystemID {
		return nil
	}
	return &connection.Error{Code: "another_instance", Message: "another PostgreSQL instance answers than the one that was registered",
		Detail: fmt.Sprintf("Its system identifier is %s, not %s. Nothing is changed there.", server.SystemID, c.systemID),
		Hint: fmt.Sprintf("If it was upgraded, or restored from a dump: portcullis connection replaced %s --system-id %s. "+
			"If the one registered is gone for good: portcullis connection delete %s --forget.", c.Name, server.SystemID, c.Name)}
}

func (s *Server) replaceInstance(w http.ResponseWriter, r *http.Request, c caller) error {
	var req InstanceRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	if req.SystemID == "" {
		return invalid("system_id", "must not be empty")
	}
	v, err := s.store.connectionNamed(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	if req.Host != "" {
		v.Host = req.Host
	}
	if req.Port != 0 {
		v.Port = req.Port
	}
	id := v.ID // by which its password is found
	if err := connectionKind().check(&v); err != nil {
		return err
	}
	v.ID = id
	if err := s.native.answersAs(r.Context(), v, req.SystemID); err != nil {
		return err
	}
	version, err := s.store.Change(r.Context(), c.actor(), func(ch *change) error { return putInstance(r.Context(), ch, v, req.SystemID) })
	if err != nil {
		return sameInstanceTwice(&v, err)
	}
	writeJSON(w, http.StatusOK, changeReply{Version: version, Action: "update"})
	return nil
}

// answersAs makes sure of which instance is there before anything is taken for it.
func (c *Connections) answersAs(ctx context.Context, v Connection, systemID string) error {
	target, err := c.store.target(ctx, v)
	if err != nil {
		return err
	}
	server, err := c.reach.dialer().Probe(ctx, target)
	if err != nil {
		return instanceError("host", err)
	}
	if server.SystemID != systemID {
		return conflict("system_id", "the instance at %s:%d has the system identifier %s", v.Host, v.Port, server.SystemID)
	}
	return c.known(ctx, &v, nil, server)
}

// putInstance forgets the OIDs that were the old instance's. An OID below zero
// stands for an object that is known by its name until a crawl finds it; a role
// of the ledger without one is known by its mark. Columns are forgotten, too:
// their numbers would be taken for renamed columns.
func putInstance(ctx context.Context, c *change, v Connection, systemID string) error {
	before, err := listConnections(ctx, c, []string{v.Name})
	if err != nil {
		return err
	}
	if len(before) == 0 {
		return notFound("connection", v.Name)
	}
	old := before[0]
	for _, sql := range []string{
		"UPDATE portcullis.connection_objects SET oid = -abs(oid), digest = '', columns = '[]' WHERE connection = $1 AND dropped IS NULL",
		"UPDATE portcullis.connection_objects SET hidden = false WHERE connection = $1 AND hidden",
		"UPDATE portcullis.connection_ledger SET body = jsonb_set(body, '{oid}', '0') WHERE connection = $1",
	} {
		if _, err := c.Exec(ctx, sql, old.ID); err != nil {
			return err
		}
	}
	if _, err := c.Exec(ctx, `UPDATE portcullis.connections SET system_id = $2, host = $3, port = $4, sync_wanted = sync_wanted + 1, objects_version = objects_version + 1 WHERE id = $1`,
		old.ID, systemID, v.Host, v.Port); err != nil {
		return err
	}
	type place struct {
		SystemID string `json:"system_id"`
		Host     string `json:"host"`
		Port     int    `json:"port"`
	}
	return c.record(ctx, "replace", "connections", v.Name, place{old.systemID, old.Host, old.Port}, place{systemID, v.Host, v.Port})
}
