#!/bin/bash
# Installs what building, running and testing need, and does nothing when all
# of it is there. Servers that Debian's packages would start are kept down:
# the project starts its own, on its own ports.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(
	ca-certificates gcc libc6-dev make
	unixodbc unixodbc-dev odbcinst odbc-postgresql odbc-mariadb libsqliteodbc
	postgresql-15 postgresql-client-15 postgresql-server-dev-15 libkrb5-dev pgbouncer postgresql-15-pgaudit
	mariadb-server mariadb-client sqlite3
	valgrind gdb
)

fail() { echo "deps: $*" >&2; exit 1; }

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"
	elif command -v sudo >/dev/null; then sudo "$@"
	else fail "root is needed to install: ${missing[*]}. Run 'make deps' as root once, or install sudo"
	fi
}

find_missing() {
	missing=()
	local name
	for name in "${packages[@]}"; do
		[ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$name" 2>/dev/null)" = "ii " ] || missing+=("$name")
	done
	command -v npm >/dev/null || missing+=(nodejs npm)
}

# Settings that last only while packages are installed.
keep_servers_down() {
	policy=/usr/sbin/policy-rc.d
	snippet=/etc/postgresql-common/createcluster.d/portcullis-deps.conf
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
		as_root chmod 755 "$policy"
		made_policy=yes
	fi
	as_root mkdir -p "$(dirname "$snippet")"
	echo "create_main_cluster = false" | as_root tee "$snippet" >/dev/null
}

undo_keep_servers_down() {
	as_root rm -f "$snippet"
	[ -z "${made_policy:-}" ] || as_root rm -f "$policy"
}

install_missing() {
	command -v apt-get >/dev/null || fail "these Debian packages are needed, and there is no apt-get: ${missing[*]}"
	echo "deps: installing ${missing[*]}"
	made_policy=
	trap undo_keep_servers_down EXIT
	keep_servers_down
	local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 -q -y)
	as_root "${apt[@]}" update
	as_root "${apt[@]}" install --no-install-recommends "${missing[@]}" </dev/null
	undo_keep_servers_down
	trap - EXIT
	# What was just installed shall not take a port at the next boot either.
	if [[ " ${missing[*]} " == *" mariadb-server "* ]] && [ -d /run/systemd/system ]; then
		as_root systemctl disable --quiet mariadb || true
	fi
}

command -v dpkg-query >/dev/null || fail "this is made for Debian 12; on other systems install by hand: ${packages[*]}"
command -v go >/dev/null || fail "Go is needed, in the version that go.mod names"

find_missing
if [ ${#missing[@]} -gt 0 ]; then
	install_missing
	find_missing
	[ ${#missing[@]} -eq 0 ] || fail "still missing: ${missing[*]}"
fi
for driver in "PostgreSQL Unicode" "MariaDB Unicode" SQLite3; do
	odbcinst -q -d -n "$driver" >/dev/null || fail "unixODBC does not know the driver '$driver'; reinstall its Debian package"
done
go mod download
# PostgreSQL servers of the other major versions, for the tests.
go run ./scripts/pgservers
