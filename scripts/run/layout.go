package main

import (
	"errors"
	"os"
	"path/filepath"

	"portcullis.dev/portcullis/internal/testenv"
)

// layout is where things of `make run` lie.
type layout struct {
	root    string // the checkout
	run     string // .run: env, pass file
	servers string // data and logs of the servers
	data    string // fetched sample data
}

func newLayout() (layout, error) {
	root, err := testenv.Root()
	if err != nil {
		return layout{}, err
	}
	l := layout{root: root, run: filepath.Join(root, ".run"), data: filepath.Join(root, "build", "data")}
	l.servers = filepath.Join(l.run, "servers")
	if !testenv.Reachable(root) { // a checkout in root's home
		l.servers = testenv.OutsideFolder(root, "run")
	}
	return l, nil
}

func (l layout) env() string      { return filepath.Join(l.run, "env") }
func (l layout) passFile() string { return filepath.Join(l.run, "pgpass") }

// running tells whether everything that was started lives, and whether
// anything was started at all.
func (l layout) running() (whole, any bool, err error) {
	alive, ended, err := testenv.RunningIn(l.servers)
	if err != nil {
		return false, false, err
	}
	_, err = os.Stat(l.env()) // written last
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, false, err
	}
	_, statErr := os.Stat(l.run)
	return err == nil && len(alive) > 0 && len(ended) == 0, len(alive) > 0 || statErr == nil, nil
}
