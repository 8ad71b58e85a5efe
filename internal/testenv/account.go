package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// account is the operating system user that a server runs as.
type account struct {
	name string
	cred *syscall.Credential // nil: this process's user
}

// serverAccount names the packaged user when this process is root, since
// PostgreSQL and MariaDB refuse to run as root.
func serverAccount(name string) (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, fmt.Errorf("no system user %q (%w): run make deps", name, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return account{}, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return account{}, err
	}
	return account{name: name, cred: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

// mkdir makes a private folder that belongs to the account.
func (a account) mkdir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return a.own(dir)
}

func (a account) own(path string) error {
	if a.cred == nil {
		return nil
	}
	return os.Chown(path, int(a.cred.Uid), int(a.cred.Gid))
}

// command prepares a program to run as the account, in dir, with a small
// environment so that the caller's settings do not leak into servers.
func (a account) command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/usr/bin:/sbin:/bin",
		"LC_ALL=C.UTF-8",
		"HOME=" + dir,
		"TMPDIR=" + os.TempDir(),
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.cred}
	return cmd
}

// run runs a program to its end; the error carries its output.
func run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd.Args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Reachable reports whether the servers' users can use dir.
func Reachable(dir string) bool { return checkReachable(dir) == nil }

// checkReachable reports why the servers' users could not use dir.
func checkReachable(dir string) error {
	a, err := serverAccount("postgres")
	if err != nil || a.cred == nil {
		return err
	}
	cmd := exec.Command("test", "-x", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.cred}
	if cmd.Run() != nil {
		return fmt.Errorf("the user %s cannot enter %s: set TMPDIR to a folder that every user may enter", a.name, dir)
	}
	return nil
}
