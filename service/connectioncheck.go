package service

import (
	"context"
	"net/http"

	"portcullis.dev/portcullis/connection/setup"
)

// ConnectionCheck is what the system account of a connection may and lacks, as
// the instance says now.
type ConnectionCheck struct {
	Connection string `json:"connection"`
	Account    string `json:"account"`
	Ready      bool   `json:"ready"` // nothing is missing that the connection cannot work without
	setup.Report
}

func (s *Server) checkConnection(w http.ResponseWriter, r *http.Request, _ caller) error {
	if err := longRequest(w); err != nil {
		return err
	}
	found, err := s.native.check(r.Context(), r.PathValue("name"))
	if err != nil {
		return instanceError("", err)
	}
	writeJSON(w, http.StatusOK, found)
	return nil
}

// check logs in as the system account and changes nothing.
func (c *Connections) check(ctx context.Context, name string) (ConnectionCheck, error) {
	v, target, err := c.store.targetNamed(ctx, name)
	if err != nil {
		return ConnectionCheck{}, err
	}
	report, err := setup.Check(ctx, c.reach.dialer(), target, nil)
	if err != nil {
		return ConnectionCheck{}, err
	}
	if err := anotherInstance(v, report.Server); err != nil {
		return ConnectionCheck{}, err
	}
	return ConnectionCheck{Connection: v.Name, Account: v.Username, Ready: report.Ready(), Report: report}, nil
}
