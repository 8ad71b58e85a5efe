package node

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
)

// ErrUsage is a wrong command line; the message has been written.
var ErrUsage = errors.New("wrong usage")

// Command runs the daemon as the worker starts it: `portcullis node FLAGS`.
// It returns flag.ErrHelp where help was asked for.
func Command(ctx context.Context, args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("portcullis node", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var opts Options
	fd := flags.Uint("control-fd", 3, "descriptor of the Unix stream socket to the instance's worker")
	flags.StringVar(&opts.Spool, "spool", "", "folder of the audit spool")
	flags.StringVar(&opts.KeyFile, "key-file", "", "key file of the node, opens the API key")
	flags.StringVar(&opts.CAFile, "ca-file", "", "CA that the policy service's TLS must verify against (default: the system's)")
	flags.DurationVar(&opts.Lease, "lease", 5*time.Second, "how long statements may start after the service was heard")
	flags.StringVar(&opts.MetricsListen, "metrics-listen", "", "address of the Prometheus endpoint (default: none)")
	level := slog.LevelInfo
	flags.TextVar(&level, "log-level", level, "DEBUG, INFO, WARN or ERROR")
	usage := func(format string, args ...any) error {
		fmt.Fprintf(stderr, "portcullis node: "+format+"\n", args...)
		flags.Usage()
		return ErrUsage
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return ErrUsage
	case flags.NArg() > 0:
		return usage("unexpected argument %q", flags.Arg(0))
	case opts.Spool == "":
		return usage("--spool is needed")
	case opts.Lease < time.Second || opts.Lease > time.Minute:
		return usage("--lease must lie between 1s and 1m: the service is heard some times a second")
	}
	// Tokens and the API key lie in this process: no core dumps, no ptrace by others.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	conn, err := ConnFromFD(uintptr(*fd))
	if err != nil {
		return fmt.Errorf("control socket: %w; this command is started by the instance's worker", err)
	}
	opts.Control = conn
	opts.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	return Run(ctx, opts)
}
