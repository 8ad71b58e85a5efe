// Package node is the daemon beside an instance: it exchanges the node's API
// key for tokens, holds the change stream of the policy service, answers
// login checks and ships the audit spool. It speaks with the instance's main
// worker over one Unix stream socket (docs/architecture.md, "Shared memory,
// workers, the node daemon") and ends when that socket ends.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options configure a daemon.
type Options struct {
	Control *net.UnixConn // to the worker; Run closes it
	Spool   string        // folder of the audit spool
	KeyFile string        // unseals the API key
	CAFile  string        // the service's TLS verifies against it, "": the system's
	Log     *slog.Logger

	Lease      time.Duration // how long statements may start after the service was heard, 0: 5 s
	Silence    time.Duration // a stream without a line for so long is dropped, 0: 3 s
	CheckLimit time.Duration // a login check is answered within this, 0: 2 s

	MetricsListen string // address of the Prometheus endpoint, "": none
}

func (o *Options) setDefaults() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.Lease, 5 * time.Second}, {&o.Silence, 3 * time.Second}, {&o.CheckLimit, 2 * time.Second}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// daemon is what outlives a change of configuration.
type daemon struct {
	opts    Options
	control *control
	metrics *metrics
	configs *latest[config]
	synced  *latest[place]
	checks  *checkQueue
}

// Run serves until the worker's end of the socket closes (nil), ctx ends
// (nil) or the socket fails.
func Run(ctx context.Context, opts Options) error {
	opts.setDefaults()
	d := &daemon{
		opts:    opts,
		control: newControl(opts.Control),
		metrics: newMetrics(),
		configs: newLatest[config](),
		synced:  newLatest[place](),
		checks:  newCheckQueue(),
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		return d.control.close()
	})
	g.Go(d.readControl)
	g.Go(func() error { return d.serve(ctx) })
	if opts.MetricsListen != "" {
		g.Go(func() error {
			if err := d.metrics.serve(ctx, opts.MetricsListen); err != nil {
				opts.Log.Error("metrics failed", "error", err) // enforcement goes on without them
			}
			return nil
		})
	}
	err := g.Wait()
	if errors.Is(err, errWorkerGone) || errors.Is(err, context.Canceled) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// serve runs one session a configuration, the newest. A repeated
// configuration starts anew too: who repeats it wants a new try at once.
func (d *daemon) serve(ctx context.Context) error {
	for ctx.Err() == nil {
		changed := d.configs.changed()
		cfg, configured := d.configs.get()
		sctx, cancel := context.WithCancel(ctx)
		var g errgroup.Group
		g.Go(func() error {
			defer cancel()
			if !configured {
				return d.unconfigured(sctx, changed)
			}
			return d.session(sctx, cfg, changed)
		})
		g.Go(func() error {
			defer cancel()
			select {
			case <-sctx.Done():
			case <-changed:
			}
			return nil
		})
		if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return ctx.Err()
}

// unconfigured gives the worker a moment to send its first CONFIG, then
// refuses logins.
func (d *daemon) unconfigured(ctx context.Context, changed <-chan struct{}) error {
	if err := sleep(ctx, d.opts.CheckLimit/2, nil); err != nil {
		return err
	}
	d.control.status("service", "not configured")
	return d.refuseChecks(ctx, changed, "this node has not been told its policy service yet", "the database of portcullis.database may lack the extension")
}

// session serves one configuration until ctx ends; failures of the service
// never end it.
func (d *daemon) session(ctx context.Context, cfg config, changed <-chan struct{}) error {
	s := &session{daemon: d, cfg: cfg, changed: changed, tokens: newTokens(), log: d.opts.Log.With("node", cfg.node, "service", cfg.url)}
	if cfg.url == "" {
		s.report("service", "not configured")
		return s.refuseChecks(ctx, changed, "this node has no policy service", "an administrator sets it with immutasys.configure()")
	}
	client, err := newClient(cfg.url, d.opts.CAFile, d.metrics)
	if err != nil {
		s.fail("service", err)
		return s.refuseChecks(ctx, changed, "the policy service of this node is not usable: "+err.Error(), "an administrator corrects it in immutasys.service_config")
	}
	defer client.close()
	s.client = client
	s.report("service", "connecting")

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.keepToken(ctx) })
	g.Go(func() error { return s.holdEvents(ctx) })
	g.Go(func() error { return s.ship(ctx) })
	for range checkers {
		g.Go(func() error { return s.answerChecks(ctx) })
	}
	return g.Wait()
}

// session is what belongs to one configuration.
type session struct {
	*daemon
	cfg     config
	changed <-chan struct{} // closed when another configuration came in
	client  *client
	tokens  *tokens
	taken   *record // the service stored it last; of the goroutine that ships
	log     *slog.Logger
}

// report tells operators a fact (immutasys.status()).
func (s *session) report(key, value string) { s.control.status(key, value) }

// fail logs an error and shows it as the last one.
func (s *session) fail(what string, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	s.log.Error(what+" failed", "error", err)
	s.metrics.failures.WithLabelValues(what).Inc()
	s.report("last_error", fmt.Sprintf("%s %s: %v", time.Now().UTC().Format(time.RFC3339), what, err))
}

// ConnFromFD makes the control connection of an inherited descriptor.
func ConnFromFD(fd uintptr) (*net.UnixConn, error) {
	file := os.NewFile(fd, "control")
	if file == nil {
		return nil, fmt.Errorf("descriptor %d is not open", fd)
	}
	defer file.Close() // FileConn duplicates it
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d is not a socket: %w", fd, err)
	}
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("descriptor %d is not a Unix socket", fd), conn.Close())
	}
	return unix, nil
}
