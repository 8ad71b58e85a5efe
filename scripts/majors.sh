#!/bin/bash
# Compiles the module against PostgreSQL 17 and 18, where warnings are errors,
# and runs the tests of whole installations there: majors.sh [17] [18].
# Debian ships these versions in later releases, so each gets a folder with such
# a release, 2.5 GB, which is removed at the end. MAJORS_DIR=folder keeps the
# releases below it for the next time; MAJORS_TESTS names the packages to test,
# MAJORS_FLAGS are given to them (-test.run=…).
# Takes root and debootstrap.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "majors: $*" >&2; exit 1; }

# PostgreSQL's major version to the Debian release that has it.
declare -A release=([17]=trixie [18]=forky)
packages() {
	echo "postgresql-$1 postgresql-server-dev-$1 libicu-dev libkrb5-dev gcc make libc6-dev pgbouncer
		unixodbc-dev odbc-postgresql odbc-mariadb libsqliteodbc mariadb-server sqlite3"
}
tests=${MAJORS_TESTS:-odbc fdw/difftest test/fdw test/govern test/e2e test/attack test/interrupt test/native test/policyview}

# The mirror that this machine's own packages come from.
mirror() {
	{ sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true
	sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list 2>/dev/null || true; } | head -1
}

# The library, program and tests are built here: they use nothing of the server's version.
build_once() { # folder
	engine/build.sh build/portcullis_engine.so
	mkdir -p "$1"
	go build -o "$1/pgtree" ./scripts/pgtree
	go build -o "$1/portcullis" ./cmd/portcullis
	local name
	for name in $tests; do
		go test -c -o "$1/${name////-}.test" "./$name"
	done
	cp build/portcullis_engine.so "$1/"
}

# Everything below runs in mount and process namespaces of its own: whatever
# way it ends, no mount and no server stays.

make_folder() { # folder, major
	[ ! -e "$1/made" ] || return 0
	local script=
	[ "${release[$2]}" != forky ] || script=sid # has no script of its own everywhere
	rm -rf --one-file-system "$1"
	mkdir -p "$1"
	debootstrap --variant=minbase "${release[$2]}" "$1" "$(mirror)" $script
	printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d" # no server starts by itself
	chmod 755 "$1" "$1/usr/sbin/policy-rc.d"
	cp -r /etc/ssl/certs "$1/etc/ssl/"
}

# What servers and maintainer scripts need.
mount_in() { # folder
	mkdir -p "$1/dev/shm" "$1/src"
	mount -t proc proc "$1/proc"
	mount -t tmpfs tmpfs "$1/dev/shm"
	mount -t tmpfs -o mode=755 tmpfs "$1/src"
}

copy_in() { # folder
	mkdir -p "$1/src/build/servers"
	tar c --exclude='*.o' --exclude='*.so' go.mod c engine fdw odbc sql test | tar x --no-same-owner -C "$1/src"
	cp "$MAJORS_BUILT"/* "$1/src/build/"
	if [ -d build/servers ]; then
		mount --bind -o ro build/servers "$1/src/build/servers"
	fi
}

run_tests() { # folder, major
	chroot "$1" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PG_CONFIG="/usr/lib/postgresql/$2/bin/pg_config" MAJORS_FLAGS="${MAJORS_FLAGS:-}" \
		bash -euc '
		cd /src
		tree=$(build/pgtree)
		make -s -C c/shim install PG_CONFIG="$tree"
		install -m 755 build/portcullis "$("$tree" --bindir)/"
		failed=
		for name; do
			echo "majors: $("$tree" --version): $name"
			SECONDS=0
			(cd "$name" && "/src/build/${name////-}.test" -test.count=1 -test.timeout=20m ${MAJORS_FLAGS:-}) || failed="$failed $name"
			echo "majors: $SECONDS s"
		done
		[ -z "$failed" ] || { echo "majors: $("$tree" --version): failed:$failed" >&2; exit 1; }' majors $tests
}

one_major() { # folder, major
	make_folder "$1" "$2"
	mount_in "$1"
	[ -e "$1/made" ] || chroot "$1" env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $(packages "$2")
	touch "$1/made"
	copy_in "$1"
	run_tests "$1" "$2"
	echo "majors: PostgreSQL $2: compiled, passed: $tests"
}

if [ "${1:-}" = inside ]; then
	one_major "$2" "$3"
	exit
fi

# Outside of the namespaces.

child=
end() {
	[ -z "$child" ] || { kill -KILL "$child" 2>/dev/null && wait "$child" 2>/dev/null; } || true
	rm -rf --one-file-system "$scratch"
}

[ "$(id -u)" = 0 ] || fail "root is needed to make and enter the folders"
command -v debootstrap >/dev/null || fail "debootstrap is not installed: apt-get install debootstrap"
[ $# -gt 0 ] || set -- 17 18
for major; do
	[ -n "${release[$major]:-}" ] || fail "PostgreSQL $major is in none of the releases known here: those have ${!release[*]}"
done
scratch=$(mktemp -d /var/tmp/portcullis-majors-XXXXXX)
trap end EXIT
trap 'exit 130' INT TERM HUP
dir=${MAJORS_DIR:-$scratch}
mkdir -p "$dir"
exec 9>"$dir/lock"
flock 9
export MAJORS_BUILT=$scratch/built
build_once "$MAJORS_BUILT"
failed=
for major; do
	# In the background: a signal is served while it runs.
	unshare --mount --pid --fork --kill-child "$0" inside "$dir/$major" "$major" 9>&- &
	child=$!
	wait "$child" || failed="$failed $major"
	child=
	[ -n "${MAJORS_DIR:-}" ] || rm -rf --one-file-system "${dir:?}/$major"
done
[ -z "$failed" ] || fail "PostgreSQL$failed: see above"
