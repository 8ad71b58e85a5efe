package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Tree is a PostgreSQL installation that belongs to this checkout, so that
// checkouts and the packaged installation do not see each other's extension.
// PostgreSQL finds its folders relative to its own binary: copied binaries
// with links to everything else make a full installation.
type Tree struct {
	Root     string
	Bin      string // initdb, postgres, pg_config, …
	Lib      string // pkglibdir
	Share    string
	PGConfig string
}

// Root is the folder of this checkout.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(b, []byte("module portcullis.dev/portcullis\n")) {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("not inside a checkout of portcullis")
		}
		dir = up
	}
}

// PGTree returns the checkout's tree and makes it when it is missing or the
// packaged PostgreSQL has changed. The extension is put in by `make build`.
func PGTree(ctx context.Context) (Tree, error) {
	root, err := Root()
	if err != nil {
		return Tree{}, err
	}
	packaged, err := packagedFolders(ctx)
	if err != nil {
		return Tree{}, err
	}
	build := filepath.Join(root, "build")
	if err := os.MkdirAll(build, 0o755); err != nil {
		return Tree{}, err
	}
	unlock, err := lockFile(filepath.Join(build, "pg.lock"))
	if err != nil {
		return Tree{}, err
	}
	defer unlock()

	base := filepath.Join(build, "pg")
	if checkReachable(root) != nil { // root's home, for example
		base = OutsideFolder(root, "tree")
		if err := linkTo(filepath.Join(build, "pg"), base); err != nil {
			return Tree{}, err
		}
	}
	t := Tree{
		Root:     base,
		Bin:      base + packaged.bin,
		Lib:      base + packaged.lib,
		Share:    base + packaged.share,
		PGConfig: base + packaged.bin + "/pg_config",
	}
	stamp := filepath.Join(base, "stamp")
	if have, err := os.ReadFile(stamp); err == nil && string(have) == packaged.stamp {
		return t, nil
	}
	if err := os.RemoveAll(base); err != nil {
		return Tree{}, err
	}
	if err := fillTree(t, packaged); err != nil {
		return Tree{}, fmt.Errorf("private PostgreSQL tree in %s: %w", base, err)
	}
	return t, os.WriteFile(stamp, []byte(packaged.stamp), 0o644)
}

type folders struct {
	bin, lib, share, include string
	stamp                    string // changes with the packaged version
	major                    int
}

func packagedFolders(ctx context.Context) (folders, error) {
	var f folders
	program := os.Getenv("PG_CONFIG")
	if program == "" {
		program = "pg_config"
		if versioned := "/usr/lib/postgresql/15/bin/pg_config"; fileExists(versioned) {
			program = versioned
		}
	}
	out, err := exec.CommandContext(ctx, program, "--bindir", "--pkglibdir", "--sharedir", "--includedir", "--version").Output()
	if err != nil {
		return f, fmt.Errorf("%s: %w: run make deps", program, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 5 {
		return f, fmt.Errorf("%s answers %q", program, out)
	}
	f.bin, f.lib, f.share, f.include = lines[0], lines[1], lines[2], lines[3]
	if _, err := fmt.Sscanf(lines[4], "PostgreSQL %d", &f.major); err != nil {
		return f, fmt.Errorf("%s --version answers %q", program, lines[4])
	}
	info, err := os.Stat(filepath.Join(f.bin, "postgres"))
	if err != nil {
		return f, fmt.Errorf("%w: run make deps", err)
	}
	f.stamp = fmt.Sprintf("%s\n%s\n", strings.Join(lines, "\n"), info.ModTime().UTC())
	return f, nil
}

func fillTree(t Tree, p folders) error {
	if err := copyFiles(p.bin, t.Bin); err != nil {
		return err
	}
	if err := linkFiles(p.lib, p.share, t, "portcullis"); err != nil {
		return err
	}
	include := t.Root + filepath.Dir(p.include)
	if err := os.MkdirAll(filepath.Dir(include), 0o755); err != nil {
		return err
	}
	return os.Symlink(filepath.Dir(p.include), include)
}

// Copy makes another installation in a folder, with the extension as it is
// installed now: for tests that install something else over it.
func (t Tree) Copy(dir string) (Tree, error) {
	there := func(path string) string { return dir + strings.TrimPrefix(path, t.Root) }
	to := Tree{Root: dir, Bin: there(t.Bin), Lib: there(t.Lib), Share: there(t.Share), PGConfig: there(t.PGConfig)}
	if err := copyFiles(t.Bin, to.Bin); err != nil {
		return Tree{}, err
	}
	return to, linkFiles(t.Lib, t.Share, to)
}

// linkFiles fills a tree's folders with links to what lies in two others, but
// for what begins with one of some names.
func linkFiles(lib, share string, t Tree, without ...string) error {
	if err := linkEntries(lib, t.Lib, without...); err != nil {
		return err
	}
	if err := linkEntries(share, t.Share, append(without, "extension")...); err != nil {
		return err
	}
	return linkEntries(filepath.Join(share, "extension"), filepath.Join(t.Share, "extension"), without...)
}

// linkEntries makes to a real folder with a link for each entry of from whose
// name begins with none of those.
func linkEntries(from, to string, without ...string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if slices.ContainsFunc(without, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			continue
		}
		if err := os.Symlink(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}

func copyFiles(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() || strings.HasPrefix(entry.Name(), "portcullis") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(from, entry.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, entry.Name()), b, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// linkTo makes name a link to target, replacing another link.
func linkTo(name, target string) error {
	if have, err := os.Readlink(name); err == nil && have == target {
		return nil
	}
	if err := os.RemoveAll(name); err != nil {
		return err
	}
	return os.Symlink(target, name)
}

func lockFile(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// fnv is the 32-bit FNV-1a hash, enough to tell checkouts apart.
func fnv(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

// OutsideFolder is where root keeps what the servers' users cannot reach
// inside the checkout.
func OutsideFolder(root, what string) string {
	return fmt.Sprintf("/var/lib/portcullis-%s-%08x", what, fnv(root))
}
