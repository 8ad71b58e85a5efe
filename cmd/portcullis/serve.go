package main

import (
	"context"
	"flag"
	"log/slog"
	"time"

	"portcullis.dev/portcullis/service"
)

func runServe(ctx context.Context, args []string, io streams) error {
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	var cfg service.Config
	f.StringVar(&cfg.Listen, "listen", env("PORTCULLIS_LISTEN", "127.0.0.1:8080"), "`address`: host:port or unix:///path (PORTCULLIS_LISTEN)")
	f.StringVar(&cfg.TLSCert, "tls-cert", env("PORTCULLIS_TLS_CERT", ""), "certificate `file`; needed unless listening on loopback (PORTCULLIS_TLS_CERT)")
	f.StringVar(&cfg.TLSKey, "tls-key", env("PORTCULLIS_TLS_KEY", ""), "key `file` of the certificate (PORTCULLIS_TLS_KEY)")
	f.StringVar(&cfg.PublicURL, "public-url", env("PORTCULLIS_PUBLIC_URL", ""), "`URL` at which nodes reach the service (default: made of --listen; PORTCULLIS_PUBLIC_URL)")
	f.StringVar(&cfg.StoreURL, "database-url", env("PORTCULLIS_STORE", ""), "the service's own PostgreSQL `database` (PORTCULLIS_STORE)")
	f.StringVar(&cfg.KeyFile, "key-file", env("PORTCULLIS_KEY_FILE", ""), "key `file` that seals secrets in the store; portcullis seal --create-key makes one (PORTCULLIS_KEY_FILE)")
	f.StringVar(&cfg.EngineURL, "engine-url", env("PORTCULLIS_ENGINE", ""), "`database` of the engine to keep in step, as a superuser (PORTCULLIS_ENGINE)")
	f.StringVar(&cfg.Node, "node", env("PORTCULLIS_NODE", "engine"), "`name` of that engine's node (PORTCULLIS_NODE)")
	f.BoolVar(&cfg.Registers, "node-registers", true, "give that node an API key with which its superusers register their tables (immutasys.create_data_source)")
	f.StringVar(&cfg.NodeKeyFile, "node-key-file", env("PORTCULLIS_NODE_KEY_FILE", ""), "key `file` of that node, where it is at hand: seals passwords before they are sent (PORTCULLIS_NODE_KEY_FILE)")
	f.StringVar(&cfg.AdminKeyFile, "admin-key-file", env("PORTCULLIS_ADMIN_KEY_FILE", ""), "write an administrator's API key to this `file` if it holds none (PORTCULLIS_ADMIN_KEY_FILE)")
	f.StringVar(&cfg.Reach.AllowedHosts, "connection-hosts", env("PORTCULLIS_CONNECTION_HOSTS", "*"), "`hosts` of PostgreSQL connections, as in portcullis.allowed_hosts; * leaves out link-local and metadata addresses (PORTCULLIS_CONNECTION_HOSTS)")
	f.StringVar(&cfg.Reach.CAFolder, "provider-ca-folder", env("PORTCULLIS_PROVIDER_CA_FOLDER", ""), "`folder` with rds.pem, aurora.pem, crunchy.pem, neon.pem where the system does not know a provider's CA (PORTCULLIS_PROVIDER_CA_FOLDER)")
	f.DurationVar(&cfg.RevokeAlert, "revoke-alert", time.Minute, "a revoke on a PostgreSQL connection that is pending for longer is an alarm")
	f.StringVar(&cfg.CheckpointFile, "checkpoint-file", env("PORTCULLIS_CHECKPOINT_FILE", ""), "append a signed checkpoint of all audit chains to this `file` each minute (PORTCULLIS_CHECKPOINT_FILE)")
	level := slog.LevelInfo
	f.TextVar(&level, "log-level", level, "DEBUG, INFO, WARN or ERROR")
	format := f.String("log-format", "text", "text or json")
	if err := parse(f, args, 0, io); err != nil {
		return err
	}
	switch {
	case cfg.StoreURL == "":
		return usage(f, io, "--database-url is needed")
	case cfg.KeyFile == "":
		return usage(f, io, "--key-file is needed")
	case cfg.Node == "":
		return usage(f, io, "--node must not be empty")
	}
	options := &slog.HandlerOptions{Level: level}
	switch *format {
	case "text":
		cfg.Log = slog.New(slog.NewTextHandler(io.err, options))
	case "json":
		cfg.Log = slog.New(slog.NewJSONHandler(io.err, options))
	default:
		return usage(f, io, "--log-format must be text or json")
	}
	limitMemory(cfg.Log)
	return service.Serve(ctx, cfg)
}
