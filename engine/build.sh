#!/bin/sh
# Builds the Go library: engine/build.sh OUTPUT.so
#
# asyncpreemptoff: Go's preemption signal is SIGURG, which PostgreSQL's latches
# wait for (docs/architecture.md, "The seam").  Only pc_* is visible outside,
# and the library's own symbols come first inside.
set -eu

output=$(realpath -m "${1:?usage: engine/build.sh OUTPUT.so}")
cd "$(dirname "$0")"

CGO_ENABLED=1 CGO_CFLAGS="${CGO_CFLAGS:--O2 -g}" \
CGO_LDFLAGS_ALLOW='-Wl,.*' \
exec "${GO:-go}" build -buildvcs=false -trimpath -buildmode=c-shared -o "$output" \
	-ldflags "${STRIP--s -w} -X=runtime.godebugDefault=asyncpreemptoff=1 -extldflags '-Wl,--version-script=$PWD/exports.map -Wl,-Bsymbolic'" \
	.
