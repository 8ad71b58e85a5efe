#!/bin/bash
# Compiles the module against PostgreSQL 17 and 18, where warnings are errors,
# and runs the tests of the foreign data wrapper there: majors.sh [17] [18].
# Debian ships these versions in later releases, so each gets a folder with such
# a release below /var/lib/portcullis-majors (or MAJORS_DIR), which stays for the
# next time. That takes root, debootstrap and 2 GB for each.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "majors: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "root is needed to make and enter the folders"
command -v debootstrap >/dev/null || fail "debootstrap is not installed: apt-get install debootstrap"

declare -A release=([17]=trixie [18]=forky)
packages() {
	echo "postgresql-$1 postgresql-server-dev-$1 libicu-dev libkrb5-dev gcc make libc6-dev
		unixodbc-dev odbc-postgresql odbc-mariadb libsqliteodbc mariadb-server sqlite3"
}

# The mirror that this machine's own packages come from.
mirror() {
	{ sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true
	sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list 2>/dev/null || true; } | head -1
}

# What servers and maintainer scripts need, taken away at the end.
enter() {
	mount --bind /proc "$1/proc"
	mount -t tmpfs tmpfs "$1/dev/shm"
}
leave() {
	[ -z "${inside:-}" ] || umount "$inside/proc" "$inside/dev/shm"
	inside=
}
trap leave EXIT

make_folder() { # folder, major
	if [ ! -e "$1/made" ]; then
		local script=
		[ "${release[$2]}" != forky ] || script=sid # has no script of its own everywhere
		rm -rf "$1"
		mkdir -p "$1"
		debootstrap --variant=minbase "${release[$2]}" "$1" "$(mirror)" $script
		printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d" # no server starts by itself
		chmod 755 "$1/usr/sbin/policy-rc.d"
		cp -r /etc/ssl/certs "$1/etc/ssl/"
		mkdir -p "$1/dev/shm"
	fi
	inside=$1
	enter "$1"
	[ -e "$1/made" ] || chroot "$1" env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $(packages "$2")
	touch "$1/made"
}

# The library, tests and tools come from here: they use nothing of the server's version.
copy_sources() { # folder
	rm -rf "$1/src"
	mkdir -p "$1/src/build"
	tar c --exclude='*.o' --exclude='*.so' go.mod c engine odbc sql test | tar x --no-same-owner -C "$1/src"
	cp build/portcullis_engine.so "$1/src/build/"
	go build -o "$1/src/build/pgtree" ./scripts/pgtree
	go test -c -o "$1/src/build/fdw.test" ./test/fdw
	chmod 755 "$1" "$1/src" "$1/src/build"
}

engine/build.sh build/portcullis_engine.so
[ $# -gt 0 ] || set -- 17 18
dir=${MAJORS_DIR:-/var/lib/portcullis-majors}
mkdir -p "$dir"
exec 9>"$dir/lock"
flock 9
for major; do
	[ -n "${release[$major]:-}" ] || fail "PostgreSQL $major is in none of the releases known here: those have ${!release[*]}"
	make_folder "$dir/$major" "$major"
	copy_sources "$dir/$major"
	chroot "$dir/$major" env LC_ALL=C.UTF-8 PG_CONFIG="/usr/lib/postgresql/$major/bin/pg_config" bash -euc '
		cd /src
		tree=$(build/pgtree)
		make -s -C c/shim install PG_CONFIG="$tree"
		cd test/fdw
		/src/build/fdw.test -test.count=1'
	leave
	echo "majors: PostgreSQL $major: compiled, tests of the foreign data wrapper passed"
done
