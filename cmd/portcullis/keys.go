package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"portcullis.dev/portcullis/internal/seal"
	"portcullis.dev/portcullis/policy"
	"portcullis.dev/portcullis/service"
)

func runAPIKey(ctx context.Context, args []string, io streams) error {
	f := flag.NewFlagSet("apikey", flag.ContinueOnError)
	var r remote
	r.flags(f)
	name := f.String("name", "", "`name` of the key")
	node := f.String("node", "", "make a key for this `node`: for its tokens or, with --permissions SOURCE_ADMIN, for its tables")
	permissions := f.String("permissions", "", "make a key with these `permissions`, separated by commas")
	expires := f.Duration("expires", 0, "the key ends after this time (default: never)")
	store := f.String("database-url", "", "create: write to the service's `database` directly, for the first key")
	keyFile := f.String("key-file", env("PORTCULLIS_KEY_FILE", ""), "with --database-url: the service's key `file`")
	switch {
	case len(args) == 0:
		return usage(f, io, "create, list or revoke is needed")
	case asksHelp(args[0]):
		args = []string{"", "--help"}
	case !slices.Contains([]string{"create", "list", "revoke"}, args[0]):
		return usage(f, io, "unknown action %q: create, list or revoke", args[0])
	}
	if err := parse(f, args[1:], 0, io); err != nil {
		return err
	}
	if args[0] != "list" && *name == "" {
		return usage(f, io, "--name is needed")
	}
	key := service.APIKey{Name: *name, Node: *node}
	for _, p := range strings.Split(*permissions, ",") {
		if p != "" {
			key.Permissions = append(key.Permissions, policy.Permission(strings.TrimSpace(p)))
		}
	}
	if *expires > 0 {
		t := time.Now().Add(*expires)
		key.Expires = &t
	}
	switch args[0] {
	case "create":
		return createKey(ctx, r, key, *store, *keyFile, io)
	case "list":
		return listKeys(ctx, r, io)
	}
	c, err := r.client()
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Call(ctx, http.MethodDelete, "/v1/api_keys/"+url.PathEscape(*name), nil, nil)
}

func createKey(ctx context.Context, r remote, key service.APIKey, store, keyFile string, io streams) error {
	var made service.APIKey
	if store != "" {
		sealer, err := seal.ReadKeyFile(keyFile)
		if err != nil {
			return err
		}
		s, err := service.Open(ctx, store, sealer, "", slog.New(slog.NewTextHandler(io.err, nil)))
		if err != nil {
			return err
		}
		defer s.Close()
		if made, err = s.CreateAPIKey(ctx, "command line", key, false); err != nil {
			return err
		}
	} else {
		c, err := r.client()
		if err != nil {
			return err
		}
		defer c.Close()
		body := map[string]any{"name": key.Name, "node": key.Node, "permissions": key.Permissions, "expires": key.Expires}
		if err := c.Call(ctx, http.MethodPost, "/v1/api_keys", body, &made); err != nil {
			return err
		}
	}
	if r.json() {
		return printJSON(io, made)
	}
	_, err := fmt.Fprintln(io.out, made.Key)
	return err
}

func listKeys(ctx context.Context, r remote, io streams) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	defer c.Close()
	var keys []service.APIKey
	if err := c.Call(ctx, http.MethodGet, "/v1/api_keys", nil, &keys); err != nil {
		return err
	}
	if r.json() {
		return printJSON(io, keys)
	}
	for _, k := range keys {
		what := "node " + k.Node
		switch {
		case k.Node == "":
			what = fmt.Sprint(k.Permissions)
		case len(k.Permissions) > 0:
			what += fmt.Sprint(" ", k.Permissions)
		}
		fmt.Fprintf(io.out, "%s\t%s\tmade %s\n", k.Name, what, k.Created.UTC().Format(time.RFC3339))
	}
	return nil
}

func runSeal(_ context.Context, args []string, io streams) error {
	f := flag.NewFlagSet("seal", flag.ContinueOnError)
	create := f.String("create-key", "", "write a new key to this `file`")
	keyFile := f.String("key-file", env("PORTCULLIS_NODE_KEY_FILE", ""), "seal the first line of standard input with this key `file` (PORTCULLIS_NODE_KEY_FILE)")
	if err := parse(f, args, 0, io); err != nil {
		return err
	}
	if *create != "" {
		return seal.CreateKeyFile(*create)
	}
	if *keyFile == "" {
		return usage(f, io, "--key-file or --create-key is needed")
	}
	in := bufio.NewScanner(os.Stdin)
	if !in.Scan() || in.Text() == "" {
		return fmt.Errorf("standard input holds no secret")
	}
	text, err := seal.Seal(*keyFile, in.Text())
	if err == nil {
		_, err = fmt.Fprintln(io.out, text)
	}
	return err
}

func runVersion(_ context.Context, args []string, io streams) error {
	f := flag.NewFlagSet("version", flag.ContinueOnError)
	if err := parse(f, args, 0, io); err != nil {
		return err
	}
	version, goVersion := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version, goVersion = info.Main.Version, info.GoVersion
	}
	_, err := fmt.Fprintf(io.out, "portcullis %s (%s)\n", version, goVersion)
	return err
}
