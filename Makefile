# Portcullis: `make help` lists what there is. Everything is built into build/,
# and started from a private PostgreSQL installation in build/pg, so checkouts
# on one machine do not disturb each other.

SHELL := /bin/bash
.DELETE_ON_ERROR:

GO ?= go
# The packaged PostgreSQL that `make install` installs into.
PG_CONFIG ?= $(shell test -x /usr/lib/postgresql/15/bin/pg_config && echo /usr/lib/postgresql/15/bin/pg_config || echo pg_config)
DESTDIR ?=
# A checkout of another user is no reason to fail.
export GOFLAGS := -buildvcs=false $(GOFLAGS)

build := build
# Makes the private installation if need be and names its pg_config.
tree_config = $(shell $(GO) run ./scripts/pgtree)
# Packages with goroutines or none of C: also run under the race detector.
raced := ./policy/... ./cache ./fdw ./node ./engine/run ./engine/mask ./internal/seal
# All but connection/.
measured = $(shell $(GO) list ./... | grep -v '^portcullis.dev/portcullis/connection')

.PHONY: help deps build install run stop show test bench majors check-memory lint clean engine shim program tools

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what is missing (Debian packages, Go modules, servers for tests)
	@scripts/deps.sh

build: shim program ## build everything into build/

engine:
	@mkdir -p $(build)
	engine/build.sh $(build)/portcullis_engine.so

shim: engine
	$(MAKE) -C c/shim -s install PG_CONFIG="$(tree_config)"

program:
	@mkdir -p $(build)
	$(GO) build -o $(build)/portcullis ./cmd/portcullis
	install -m 755 $(build)/portcullis "$$($(tree_config) --bindir)/"

install: ## install what was built into the packaged PostgreSQL (DESTDIR is honoured)
	@test -x $(build)/portcullis || { echo "nothing is built: run make build" >&2; exit 1; }
	$(MAKE) -C c/shim install PG_CONFIG="$(PG_CONFIG)" DESTDIR="$(DESTDIR)"
	install -d "$(DESTDIR)$$($(PG_CONFIG) --bindir)"
	install -m 755 $(build)/portcullis "$(DESTDIR)$$($(PG_CONFIG) --bindir)/"

run: deps ## start everything with sample data and show who sees what
	@$(MAKE) --no-print-directory build
	@$(GO) run ./scripts/run up

show: ## show again who sees what
	@$(GO) run ./scripts/run show

stop: ## stop what `make run` started; leaves nothing behind
	@$(GO) run ./scripts/run stop

tools:
	@mkdir -p $(build)/tools
	@cd scripts/tools && $(GO) build -o ../../$(build)/tools/ honnef.co/go/tools/cmd/staticcheck

lint: shim tools ## formatting, vet, staticcheck, C warnings, stray paths
	@scripts/lint.sh

test: build lint ## everything; ends with the summary of go test
	@# Tests of connections measure no time: two packages at once. Others measure how soon a cancel or a revoke is served.
	@failed=0; set -x; \
	$(GO) test -race -count=1 -timeout 10m $(raced) || failed=1; \
	$(GO) test -p 2 -count=1 -timeout 20m ./connection/... || failed=1; \
	$(GO) test -p 1 -count=1 -timeout 20m $(measured) || failed=1; \
	{ set +x; } 2>/dev/null; exit $$failed

bench: build ## measure against a C loop, postgres_fdw and a direct connection
	@ODBC_FDW_DIRS="$(ODBC_FDW_DIRS)" $(GO) run ./scripts/bench $(SECTIONS)

majors: ## compile against PostgreSQL 17 and 18 and test there (root, debootstrap)
	@scripts/majors.sh

check-memory: build ## run the module under valgrind
	@$(GO) run ./scripts/memcheck

clean: ## remove what was built; `make stop` first
	@$(GO) run ./scripts/run clean
	-@$(MAKE) -C c/shim -s clean PG_CONFIG="$(PG_CONFIG)"
	rm -rf $(build)
