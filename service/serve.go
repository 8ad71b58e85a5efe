package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"portcullis.dev/portcullis/internal/seal"
	"portcullis.dev/portcullis/policy"
)

// Config is what serve needs.
type Config struct {
	Listen       string // host:port or unix:///path
	TLSCert      string
	TLSKey       string
	PublicURL    string        // where nodes reach the service, default: made of Listen
	StoreURL     string        // the service's own database
	KeyFile      string        // seals secrets in the store
	EngineURL    string        // engine to keep in step, "": none
	Node         string        // its name
	Registers    bool          // superusers of that engine may register its tables
	NodeKeyFile  string        // seals secrets in its catalogs, "": it seals them itself
	AdminKeyFile string        // an administrator's API key is written here if the file is missing
	RevokeAlert  time.Duration // a revoke on a connection that is pending for longer is an alarm; 0: a minute
	Log          *slog.Logger
	Reach        Reach            // how instances of connections may be reached
	Ready        func(url string) // told when requests are answered, may be nil

	CheckpointFile  string        // checkpoints of the audit are appended here, "": none are made
	CheckpointEvery time.Duration // 0: each minute
}

// Serve runs the service until ctx ends, then lets running requests finish.
func Serve(ctx context.Context, cfg Config) error {
	key, err := seal.ReadKeyFile(cfg.KeyFile)
	if err != nil {
		return err
	}
	var nodeKey *seal.Key
	if cfg.NodeKeyFile != "" {
		if nodeKey, err = seal.ReadKeyFile(cfg.NodeKeyFile); err != nil {
			return err
		}
	}
	store, err := Open(ctx, cfg.StoreURL, key, cfg.Node, cfg.Log)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.writeAdminKey(ctx, cfg.AdminKeyFile); err != nil {
		return err
	}
	listener, url, err := listen(cfg)
	if err != nil {
		return err
	}
	if cfg.PublicURL == "" {
		cfg.PublicURL = url
	}
	var engine *Engine
	if cfg.EngineURL != "" {
		engine = NewEngine(store, EngineConfig{URL: cfg.EngineURL, Node: cfg.Node, ServiceURL: cfg.PublicURL, NodeKey: nodeKey, Registers: cfg.Registers}, cfg.Log)
	}
	server := NewServer(store, engine, cfg.Log)
	if err := server.SetReach(cfg.Reach); err != nil {
		return fmt.Errorf("allowed hosts: %w", err)
	}
	if cfg.RevokeAlert > 0 {
		server.AlertRevokes(cfg.RevokeAlert)
	}
	return run(ctx, cfg, server, engine, listener)
}

// run serves and works in the background until ctx ends or serving fails.
func run(ctx context.Context, cfg Config, server *Server, engine *Engine, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	background.Go(func() { server.Run(ctx) })
	if engine != nil {
		background.Go(func() { engine.Run(ctx) })
	}
	if cfg.CheckpointFile != "" {
		checkpoints := newCheckpointer(server.store, cfg.CheckpointFile, cfg.CheckpointEvery, cfg.Log)
		if err := checkpoints.write(ctx); err != nil { // better now than after the first minute
			return errors.Join(err, listener.Close())
		}
		background.Go(func() { checkpoints.run(ctx) })
	}
	web := &http.Server{
		Handler:           server.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second, // streams move their own deadline
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	background.Go(func() { served <- web.Serve(listener) })
	cfg.Log.Info("serving", "url", cfg.PublicURL)
	if cfg.Ready != nil {
		cfg.Ready(cfg.PublicURL)
	}
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer stop()
	if err := web.Shutdown(grace); err != nil {
		return errors.Join(err, web.Close())
	}
	return nil
}

func listen(cfg Config) (net.Listener, string, error) {
	if path, ok := strings.CutPrefix(cfg.Listen, "unix://"); ok {
		return listenUnix(path)
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, "", fmt.Errorf("listen: %w", err)
	}
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, "", errors.Join(err, l.Close())
	}
	if cfg.TLSCert == "" && cfg.TLSKey == "" {
		if ip := net.ParseIP(host); !ip.IsLoopback() {
			return nil, "", errors.Join(errors.New("without TLS the service listens on loopback or a Unix socket only: give --tls-cert and --tls-key"), l.Close())
		}
		return l, "http://" + net.JoinHostPort(host, port), nil
	}
	pair, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey)
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("TLS certificate: %w", err), l.Close())
	}
	asked, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil || asked == "" {
		asked = host
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}),
		"https://" + net.JoinHostPort(asked, port), nil
}

// listenUnix replaces a socket that nobody listens on.
func listenUnix(path string) (net.Listener, string, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			return nil, "", errors.Join(fmt.Errorf("listen: another service listens on %s", path), conn.Close())
		}
		if err := os.Remove(path); err != nil {
			return nil, "", fmt.Errorf("listen: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, "", fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, "", errors.Join(err, l.Close())
	}
	return l, "unix://" + path, nil
}

// adminKeyName names the API key that serve writes for the administrator.
const adminKeyName = "administrator"

// writeAdminKey makes an administrator's API key unless the file exists and
// holds one that works.
func (s *Store) writeAdminKey(ctx context.Context, path string) error {
	if path == "" {
		return nil
	}
	raw, err := os.ReadFile(path)
	if err == nil {
		if _, err := s.keyOf(ctx, strings.TrimSpace(string(raw))); err == nil {
			return nil
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("administrator's API key: %w", err)
	}
	k, err := s.CreateAPIKey(ctx, "service", APIKey{Name: adminKeyName, Permissions: []policy.Permission{policy.PermissionAdmin}}, true)
	if err != nil {
		return err
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, []byte(k.Key+"\n"), 0o600); err != nil {
		return fmt.Errorf("administrator's API key: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("administrator's API key: %w", err)
	}
	return nil
}
