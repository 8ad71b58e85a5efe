package testenv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a server that was started, here or (detached) by an earlier one.
type process struct {
	name   string
	pid    int
	born   string // start time from /proc, tells a recycled pid
	log    string
	gentle syscall.Signal // asks for a quick, clean end
	done   chan struct{}  // closed when a child ended; nil if not our child
}

// start runs cmd as a server with its output in <name>.log.
func (e *Env) start(cmd *exec.Cmd, name string, gentle syscall.Signal) (*process, error) {
	log := e.logOf(name)
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if e.opts.Detach {
		cmd.SysProcAttr.Setsid = true
	} else {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	}
	if err := startOnLastingThread(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, pid: cmd.Process.Pid, log: log, gentle: gentle, done: make(chan struct{})}
	p.born, _ = bornAt(p.pid) // "" when it ended already; done tells
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended is in its log
	}()
	if e.opts.Detach {
		return p, e.remember(p)
	}
	return p, nil
}

func (e *Env) logOf(name string) string { return filepath.Join(e.Dir, name+".log") }

type launch struct {
	cmd *exec.Cmd
	err chan error
}

// launches feeds the one thread that forks servers: Pdeathsig fires when the
// forking thread ends, so that thread must live as long as the process.
var launches = sync.OnceValue(func() chan<- launch {
	c := make(chan launch)
	go func() {
		runtime.LockOSThread()
		for l := range c {
			l.err <- l.cmd.Start()
		}
	}()
	return c
})

func startOnLastingThread(cmd *exec.Cmd) error {
	l := launch{cmd: cmd, err: make(chan error, 1)}
	launches() <- l
	return <-l.err
}

func (p *process) ended() bool {
	if p.done != nil {
		select {
		case <-p.done:
			return true
		default:
			return false
		}
	}
	born, err := bornAt(p.pid)
	return err != nil || born != p.born
}

// stop asks gently, then kills; it returns when the process is gone.
func (p *process) stop(ctx context.Context) error {
	for _, step := range []struct {
		sig  syscall.Signal
		wait time.Duration
	}{{p.gentle, 20 * time.Second}, {syscall.SIGQUIT, 10 * time.Second}, {syscall.SIGKILL, 10 * time.Second}} {
		if p.ended() {
			return nil
		}
		if err := syscall.Kill(p.pid, step.sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop %s (pid %d): %w", p.name, p.pid, err)
		}
		if p.wait(ctx, step.wait) {
			return nil
		}
	}
	return fmt.Errorf("%s (pid %d) does not end", p.name, p.pid)
}

// wait reports whether the process ended within d.
func (p *process) wait(ctx context.Context, d time.Duration) bool {
	if p.done != nil {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-p.done:
			return true
		case <-ctx.Done():
			return false
		case <-timer.C:
			return false
		}
	}
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return p.ended()
	}
	defer unix.Close(fd)
	deadline := time.Now().Add(d)
	for {
		left := time.Until(deadline)
		if left <= 0 || ctx.Err() != nil {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err == nil && n > 0 {
			return true
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return p.ended()
		}
	}
}

const processList = "processes"

// remember notes a detached process for StopDir and RunningIn.
func (e *Env) remember(p *process) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	f, err := os.OpenFile(filepath.Join(e.Dir, processList), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %d %s %d\n", p.name, p.pid, cmp.Or(p.born, "-"), p.gentle)
	return errors.Join(err, f.Close())
}

// remembered reads what detached servers were started below dir: of each name
// the last, for a server that found its port taken was started again.
func remembered(dir string) ([]*process, error) {
	b, err := os.ReadFile(filepath.Join(dir, processList))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []*process
	for line := range strings.Lines(string(b)) {
		var p process
		var sig int
		if _, err := fmt.Sscan(line, &p.name, &p.pid, &p.born, &sig); err != nil {
			return nil, fmt.Errorf("%s/%s: %q: %w", dir, processList, line, err)
		}
		p.gentle = syscall.Signal(sig)
		p.log = filepath.Join(dir, p.name+".log")
		list = slices.DeleteFunc(list, func(earlier *process) bool { return earlier.name == p.name })
		list = append(list, &p)
	}
	return list, nil
}

// RunningIn names the detached servers below dir that live, and those that
// were started there but ended.
func RunningIn(dir string) (alive, ended []string, err error) {
	list, err := remembered(dir)
	for _, p := range list {
		if p.ended() {
			ended = append(ended, p.name)
		} else {
			alive = append(alive, p.name)
		}
	}
	return alive, ended, err
}

// StopDir stops the detached servers below dir, the youngest first, and
// removes dir.
func StopDir(ctx context.Context, dir string) (stopped []string, err error) {
	list, err := remembered(dir)
	if err != nil {
		return nil, err
	}
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].ended() {
			continue
		}
		if err := list[i].stop(ctx); err != nil {
			return stopped, err
		}
		stopped = append(stopped, list[i].name)
	}
	return stopped, os.RemoveAll(dir)
}

// bornAt is field 22 of /proc/pid/stat: clock ticks since boot.
func bornAt(pid int) (string, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", err
	}
	after := string(b[strings.LastIndexByte(string(b), ')')+1:]) // the name may hold anything
	fields := strings.Fields(after)
	if len(fields) < 20 || fields[0] == "Z" {
		return "", fmt.Errorf("process %d has ended", pid)
	}
	return fields[19], nil
}
