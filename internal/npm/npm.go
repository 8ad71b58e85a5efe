// Package npm fetches published npm packages in pinned versions. The registry
// is the one that npm on this machine is configured with.
package npm

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Package is a published npm package in one version.
type Package struct {
	Name, Version string
	Integrity     string // as npm states it
}

// Fetch makes sure that the package lies in folder, unchanged, and returns its path.
func (p Package) Fetch(ctx context.Context, folder string) (string, error) {
	archive := filepath.Join(folder, strings.ReplaceAll(strings.TrimPrefix(p.Name, "@"), "/", "-")+"-"+p.Version+".tgz")
	if p.verify(archive) == nil {
		return archive, nil
	}
	if _, err := exec.LookPath("npm"); err != nil {
		return "", fmt.Errorf("%s is fetched with npm, which is not installed: run make deps", p.Name)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "npm", "pack", "--loglevel=error", p.Name+"@"+p.Version)
	cmd.Dir = folder
	cmd.Env = trustSystem(os.Environ())
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm pack %s@%s: %w\n%s\nIt needs an npm registry that can be reached; see npm config get registry",
			p.Name, p.Version, err, strings.TrimSpace(string(out)))
	}
	if err := p.verify(archive); err != nil {
		return "", errors.Join(err, os.Remove(archive))
	}
	return archive, nil
}

// trustSystem lets npm trust the authorities that the system trusts, as
// networks with their own authority need; by itself it knows only its own list.
func trustSystem(environ []string) []string {
	const name, bundle = "NODE_EXTRA_CA_CERTS", "/etc/ssl/certs/ca-certificates.crt"
	if _, err := os.Stat(bundle); err != nil || os.Getenv(name) != "" {
		return environ
	}
	return append(environ, name+"="+bundle)
}

func (p Package) verify(archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(h.Sum(nil)); got != p.Integrity {
		return fmt.Errorf("%s has the digest %s, not %s: it is not the file that was published", archive, got, p.Integrity)
	}
	return nil
}

// errFound ends a walk early.
var errFound = errors.New("found")

// Open gives the content of one file of a fetched package to use.
func Open(archive, name string, use func(io.Reader) error) error {
	err := Walk(archive, func(header *tar.Header, content io.Reader) error {
		if header.Name != name {
			return nil
		}
		if err := use(content); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return errFound
	})
	if err == nil {
		return fmt.Errorf("%s has no file %s", archive, name)
	}
	if errors.Is(err, errFound) {
		return nil
	}
	return err
}

// Walk gives each entry of a fetched package to use, until one fails.
func Walk(archive string, use func(*tar.Header, io.Reader) error) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", archive, err)
	}
	files := tar.NewReader(unzipped)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", archive, err)
		}
		if err := use(header, files); err != nil {
			return fmt.Errorf("%s: %w", archive, err)
		}
	}
}
