package service

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/grants"
	"portcullis.dev/portcullis/connection/parts"
	"portcullis.dev/portcullis/connection/views"
	"portcullis.dev/portcullis/internal/sqltext"
)

func (s *Server) dryRun(w http.ResponseWriter, r *http.Request, _ caller) error {
	if err := longRequest(w); err != nil {
		return err
	}
	script, err := s.native.dryRun(r.Context(), r.PathValue("name"))
	if err != nil {
		return instanceError("", err)
	}
	writeJSON(w, http.StatusOK, ScriptReply{Script: script})
	return nil
}

// dryRun works out what a round would run now. Nothing is changed, so no lease is needed.
func (c *Connections) dryRun(ctx context.Context, name string) (script string, err error) {
	v, target, err := c.store.targetNamed(ctx, name)
	if err != nil {
		return "", err
	}
	roles, err := c.readRoles(ctx, target, v.ID)
	if err != nil {
		return "", err
	}
	var d desired
	err = c.store.read(ctx, func(tx pgx.Tx, snap *snapshot) error {
		d, _, _, err = c.store.desired(ctx, tx, snap, v, target, roles, nil, c.now())
		return err
	})
	if err != nil {
		return "", err
	}
	engine, err := grants.New(grants.Options{Target: target, Ledger: &ledger{store: c.store, connection: v.ID}, Now: c.now,
		Connect: c.reach.opener(target),
		Fence:   func(context.Context) error { return errLease }})
	if err != nil {
		return "", err
	}
	made, err := c.planViews(ctx, target, &d)
	if err != nil {
		return "", err
	}
	grants, err := engine.DryRun(ctx, d.want)
	return made + grants, err
}

// planViews adds the sets of the views that stand, as a round would, and prints
// what it would do to views. Grants on views that are not there yet follow these.
func (c *Connections) planViews(ctx context.Context, target connection.Target, d *desired) (script string, err error) {
	st, err := c.store.ConnectionStatus(ctx, target.Name)
	if err != nil {
		return "", err
	}
	d.want.Sets = append(d.want.Sets, d.rowSets(st.Rows)...)
	databases := append(slices.Collect(maps.Keys(d.views)), st.ViewsIn...)
	slices.Sort(databases)
	var b strings.Builder
	for _, database := range slices.Compact(databases) {
		conn, err := c.reach.opener(target)(ctx, database)
		if err != nil {
			return "", err
		}
		made, statements, err := views.Plan(ctx, conn, parts.Options{Target: target}, database, d.views[database])
		_ = conn.Close(context.WithoutCancel(ctx))
		if err != nil {
			return "", err
		}
		for _, m := range made {
			d.want.Sets = append(d.want.Sets, viewSet(database, m))
		}
		if len(statements) > 0 {
			fmt.Fprintf(&b, "\\connect %s\nSET ROLE %s;\n%s;\nRESET ROLE;\n", sqltext.Identifier(database), sqltext.Identifier(target.ViewsOwner()), strings.Join(statements, ";\n"))
		}
	}
	return b.String(), nil
}
