// Command memcheck is behind `make check-memory`: it runs an instance with the
// extension under valgrind, lets it read from three sources, fail, be
// cancelled and exit in mid-fetch, and reports what touches our code.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"portcullis.dev/portcullis/internal/testenv"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := check(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "check-memory:", err)
		os.Exit(1)
	}
}

func check(ctx context.Context) (err error) {
	env, err := testenv.New(testenv.Options{})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			fmt.Fprintln(os.Stderr, env.LogTails(3000))
		}
		err = errors.Join(err, env.Stop(context.WithoutCancel(ctx)))
	}()
	valgrind, err := exec.LookPath("valgrind")
	if err != nil {
		return errors.New("valgrind is not installed: run make deps")
	}
	reports := filepath.Join(env.Dir, "reports")
	if err := os.Mkdir(reports, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(reports, 0o777); err != nil { // the server's user writes there
		return err
	}
	root, err := testenv.Root()
	if err != nil {
		return err
	}
	library, err := buildLibrary(ctx, root)
	if err != nil {
		return err
	}
	fmt.Println("Starting an instance under valgrind and three sources …")
	engine, err := env.StartEngine(ctx, testenv.EngineOptions{
		Settings: map[string]string{"portcullis.library_path": library, "autovacuum": "off", "log_min_duration_statement": "0", "portcullis.login_check_timeout": "20s"},
		// Go's own threads and stacks look like undefined values to memcheck; what counts here is addresses.
		Wrap: []string{valgrind, "--quiet", "--trace-children=yes", "--trace-children-skip=*/portcullis", "--undef-value-errors=no",
			"--leak-check=no", "--suppressions=" + filepath.Join(root, "scripts", "memcheck", "go.supp"), "--log-file=" + filepath.Join(reports, "%p")}})
	if err != nil {
		return err
	}
	remote, err := startSources(ctx, env)
	if err != nil {
		return err
	}
	if err := useAsAdministrator(ctx, engine, remote); err != nil {
		return err
	}
	if err := useGoverned(ctx, env, engine, remote); err != nil {
		return err
	}
	if err := engine.Stop(ctx); err != nil {
		return err
	}
	return judge(reports)
}

// buildLibrary makes a library that tells valgrind about Go's own stacks and
// heap, with names in it.
func buildLibrary(ctx context.Context, root string) (string, error) {
	library := filepath.Join(root, "build", "valgrind", "portcullis_engine.so")
	if err := os.MkdirAll(filepath.Dir(library), 0o755); err != nil {
		return "", err
	}
	fmt.Println("Building the library for valgrind …")
	cmd := exec.CommandContext(ctx, filepath.Join(root, "engine", "build.sh"), library)
	cmd.Env = append(os.Environ(), "STRIP=", "GOFLAGS="+os.Getenv("GOFLAGS")+" -tags=valgrind")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("engine/build.sh: %w\n%s", err, out)
	}
	return library, nil
}

// judge fails on every report with a frame of ours.
func judge(reports string) error {
	names, err := filepath.Glob(filepath.Join(reports, "*"))
	if err != nil {
		return err
	}
	found := 0
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, report := range strings.Split(string(b), "== \n") {
			if strings.Contains(report, "portcullis") && strings.Contains(report, " at 0x") {
				fmt.Println(report)
				found++
			}
		}
	}
	if found > 0 {
		return fmt.Errorf("%d reports name our code", found)
	}
	fmt.Printf("No invalid access in %d processes.\n", len(names))
	return nil
}
