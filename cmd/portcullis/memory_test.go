package main

import (
	"bytes"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"strings"
	"testing"
)

func TestMemoryLimitUnlessTheEnvironmentSetsOne(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	t.Setenv("GOMEMLIMIT", "1GiB")
	debug.SetMemoryLimit(1 << 30) // as the runtime does at its start
	if limitMemory(log); debug.SetMemoryLimit(-1) != 1<<30 || !strings.Contains(said.String(), `mib=1024 "set by"=GOMEMLIMIT`) {
		t.Errorf("the limit of the environment is not kept: %s", said.String())
	}
	t.Setenv("GOMEMLIMIT", "off")
	debug.SetMemoryLimit(math.MaxInt64)
	if limitMemory(log); !strings.Contains(said.String(), `msg="no memory limit" "set by"=GOMEMLIMIT`) {
		t.Errorf("said: %s", said.String())
	}
	if err := os.Unsetenv("GOMEMLIMIT"); err != nil { // Setenv puts it back
		t.Fatal(err)
	}
	if limitMemory(log); debug.SetMemoryLimit(-1) != memoryLimit || !strings.Contains(said.String(), `mib=240 "set by"=default`) {
		t.Errorf("the limit is %d, said: %s", debug.SetMemoryLimit(-1), said.String())
	}
}
