package main

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"
)

// memoryLimit, in bytes, is from where the garbage collector works harder. With
// 100,000 tables and 10,000 people the service needs less than half of it.
const memoryLimit = 240 << 20

// limitMemory sets the limit unless GOMEMLIMIT does, and says which is in force.
func limitMemory(log *slog.Logger) {
	setBy := "GOMEMLIMIT"
	if os.Getenv(setBy) == "" {
		debug.SetMemoryLimit(memoryLimit)
		setBy = "default"
	}
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		log.Info("memory limit", "mib", limit>>20, "set by", setBy)
		return
	}
	log.Info("no memory limit", "set by", setBy)
}
