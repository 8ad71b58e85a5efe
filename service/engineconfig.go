package service

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/policy"
)

// configure tells the node where its service is and gives it API keys: one
// for its tokens and, unless that is switched off, one with which its
// superusers register tables.
func (e *Engine) configure(ctx context.Context, conn *pgx.Conn) error {
	var ready bool
	err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE n.nspname = 'immutasys' AND p.proname = 'set_admin_key')`).Scan(&ready)
	if err != nil {
		return err
	}
	if !ready {
		return errors.New("the engine's database lacks the extension in this version: CREATE EXTENSION portcullis, or ALTER EXTENSION portcullis UPDATE")
	}
	if err := e.giveNodeKey(ctx, conn); err != nil {
		return err
	}
	return e.giveAdminKey(ctx, conn)
}

func (e *Engine) giveNodeKey(ctx context.Context, conn *pgx.Conn) error {
	var configured bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM immutasys.service_config WHERE url = $1 AND node = $2) AND EXISTS (SELECT FROM immutasys.dbtoken)",
		e.cfg.ServiceURL, e.cfg.Node).Scan(&configured); err != nil {
		return fmt.Errorf("read immutasys.service_config: %w", err)
	}
	key := APIKey{Name: "engine " + e.cfg.Node, Node: e.cfg.Node}
	known, err := e.knowsKey(ctx, key.Name)
	if err != nil || known && configured {
		return err
	}
	if err := e.giveKey(ctx, key, func(text string) error {
		_, err := conn.Exec(ctx, "SELECT immutasys.configure($1, $2, $3)", e.cfg.ServiceURL, text, e.cfg.Node)
		return err
	}); err != nil {
		return fmt.Errorf("immutasys.configure: %w", err)
	}
	e.log.Info("configured the engine", "node", e.cfg.Node, "url", e.cfg.ServiceURL)
	return nil
}

func (e *Engine) giveAdminKey(ctx context.Context, conn *pgx.Conn) error {
	key := APIKey{Name: "engine " + e.cfg.Node + " registers", Node: e.cfg.Node, Permissions: []policy.Permission{policy.PermissionSourceAdmin}}
	known, err := e.knowsKey(ctx, key.Name)
	if err != nil {
		return err
	}
	if !e.cfg.Registers {
		if !known {
			return nil
		}
		if _, err := conn.Exec(ctx, "SELECT immutasys.set_admin_key(NULL)"); err != nil {
			return fmt.Errorf("immutasys.set_admin_key: %w", err)
		}
		return e.store.DeleteAPIKey(ctx, "service", key.Name)
	}
	var given bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM immutasys.dbtoken WHERE admin_key_sealed IS NOT NULL)").Scan(&given); err != nil {
		return fmt.Errorf("read immutasys.dbtoken: %w", err)
	}
	if known && given {
		return nil
	}
	if err := e.giveKey(ctx, key, func(text string) error {
		_, err := conn.Exec(ctx, "SELECT immutasys.set_admin_key($1)", text)
		return err
	}); err != nil {
		return fmt.Errorf("immutasys.set_admin_key: %w", err)
	}
	return nil
}

func (e *Engine) knowsKey(ctx context.Context, name string) (known bool, err error) {
	err = e.store.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM portcullis.api_keys WHERE name = $1 AND node = $2)", name, e.cfg.Node).Scan(&known)
	return known, err
}

// giveKey makes a key in place of the one of its name; a key that could not
// be handed over is revoked.
func (e *Engine) giveKey(ctx context.Context, key APIKey, hand func(text string) error) error {
	made, err := e.store.CreateAPIKey(ctx, "service", key, true)
	if err != nil {
		return err
	}
	if err := hand(made.Key); err != nil {
		return errors.Join(err, e.store.DeleteAPIKey(context.WithoutCancel(ctx), "service", key.Name))
	}
	return nil
}
