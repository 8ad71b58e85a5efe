package main

import (
	"os"
	"runtime/debug"
)

// memoryLimit, in bytes, is from where the garbage collector works harder. With
// 100,000 tables and 10,000 people the service needs less than half of it.
const memoryLimit = 240 << 20

// limitMemory sets the limit unless GOMEMLIMIT does.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}
