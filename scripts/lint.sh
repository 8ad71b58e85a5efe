#!/bin/bash
# Checks that need no server. Prints every finding, then fails.
set -uo pipefail
cd "$(dirname "$0")/.."

bad=0
check() { # name, findings
	[ -z "$2" ] && return
	printf 'lint: %s\n%s\n' "$1" "$2" >&2
	bad=1
}

# Files of the tree, by name patterns; git may be absent or distrust the checkout's owner.
sources() {
	local names=() pattern
	for pattern in "$@"; do names+=(-o -name "$pattern"); done
	find . \( -path ./.git -o -path ./build -o -path ./.run \) -prune -o -type f \( "${names[@]:1}" \) -print
}

text=('*.go' '*.c' '*.h' '*.sql' '*.sh' '*.md' '*.yaml' '*.yml' '*.json' '*.control' '*.mod' '*.supp' Makefile run)

check "not formatted (gofmt -w)" "$(sources '*.go' | xargs -r gofmt -l)"
check "go vet" "$(go vet ./... 2>&1)"
check "staticcheck" "$(build/tools/staticcheck ./... 2>&1)"
check "shell syntax" "$(sources '*.sh' run | xargs -r -n1 bash -n 2>&1)"
check "a path of one machine" "$(sources "${text[@]}" | xargs -r grep -nIE '(/home|/Users)/[a-z]+/|/root/' -- | grep -v '^./scripts/lint.sh:')"
check "a registry's host" "$(sources "${text[@]}" | xargs -r grep -nIE 'registry\.npmjs|proxy\.golang|deb\.debian\.org|sum\.golang' -- | grep -v '^./scripts/lint.sh:')"
check "unfinished work" "$(sources '*.go' '*.c' '*.h' '*.sql' '*.sh' | xargs -r grep -nIE '\b(TODO|FIXME|XXX)\b[:(]' -- | grep -v '^./scripts/lint.sh:')"
exit $bad
