package main

import (
	"os"
	"runtime/debug"
	"testing"
)

func TestMemoryLimitUnlessTheEnvironmentSetsOne(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	t.Setenv("GOMEMLIMIT", "1GiB")
	if limitMemory(); debug.SetMemoryLimit(-1) != before {
		t.Error("the limit of the environment is not kept")
	}
	if err := os.Unsetenv("GOMEMLIMIT"); err != nil { // Setenv puts it back
		t.Fatal(err)
	}
	if limitMemory(); debug.SetMemoryLimit(-1) != memoryLimit {
		t.Errorf("the limit is %d", debug.SetMemoryLimit(-1))
	}
}
