package testenv

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Service is a running policy service.
type Service struct {
	URL        string
	APIKeyFile string // an administrator's

	Checkpoints string // file to which it appends checkpoints of the audit

	env     *Env
	program string
	listen  string // address
	args    []string
	environ []string
	as      account
	proc    *process
}

// Program is the portcullis binary that `make build` put into the tree.
func (t Tree) Program() (string, error) {
	program := filepath.Join(t.Bin, "portcullis")
	if !fileExists(program) {
		return "", fmt.Errorf("%s is missing: run make build", program)
	}
	return program, nil
}

// Apply makes the service equal to a state file and waits until the engine is
// in step with it.
func (s *Service) Apply(ctx context.Context, file string) error {
	if _, err := s.CLI(ctx, "apply", "-f", file); err != nil {
		return err
	}
	return s.WaitInStep(ctx)
}

// CLI runs the program as an administrator of the service and returns what it prints.
func (s *Service) CLI(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.program, args...)
	cmd.Env = append(os.Environ(), "PORTCULLIS_URL="+s.URL, "PORTCULLIS_API_KEY_FILE="+s.APIKeyFile)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("portcullis %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// status is what WaitInStep reads of the service's status.
type status struct {
	Engine   string
	Unsynced []string
	Nodes    []struct {
		Name     string
		LastSeen *time.Time `json:"last_seen"`
	}
}

func (s status) lacks() string {
	switch {
	case s.Engine != "in step":
		return "engine " + s.Engine
	case len(s.Unsynced) > 0:
		return "not in step: " + strings.Join(s.Unsynced, ", ")
	}
	for _, n := range s.Nodes {
		if n.LastSeen == nil {
			return "node " + n.Name + " has not called yet"
		}
	}
	return ""
}

// WaitInStep waits until the engine has the accounts and tables that the
// service describes and its node has called, at most a minute.
func (s *Service) WaitInStep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		out, err := s.CLI(ctx, "status", "-o", "json")
		if err != nil {
			return err
		}
		var st status
		if err := json.Unmarshal([]byte(out), &st); err != nil {
			return fmt.Errorf("portcullis status: %w", err)
		}
		lacks := st.lacks()
		if lacks == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the engine does not get in step: %s", lacks)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *Service) startup(ctx context.Context) error {
	cmd := s.as.command(context.Background(), s.env.Dir, s.program, append(slices.Clone(s.args), "--listen", s.listen)...)
	cmd.Env = append(cmd.Env, s.environ...)
	proc, err := s.env.start(cmd, "service", syscall.SIGTERM)
	if err != nil {
		return err
	}
	s.proc = proc
	return s.proc.answers(ctx, "the policy service", func(ctx context.Context) error {
		if err := healthy(ctx, s.URL); err != nil {
			return err
		}
		_, err := s.CLI(ctx, "status") // another service on this port does not know our key
		return err
	})
}

func healthy(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/healthz", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, res.Status)
	}
	return nil
}

// Stop stops the service; Start brings it back on the same port.
func (s *Service) Stop(ctx context.Context) error {
	if s.proc == nil {
		return nil
	}
	return s.proc.stop(ctx)
}

// PID is the service's process.
func (s *Service) PID() int { return s.proc.pid }

// Start starts a stopped service.
func (s *Service) Start(ctx context.Context) error { return s.startup(ctx) }
