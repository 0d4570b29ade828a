# A new machine needs make and Python 3.11, 3.12 or 3.13; the targets install the rest, and can be run again at any time.
#   make demo       tune a tiny model end to end, to an exported launch config in .demo/
#   make test       the test suite, a real vLLM among it
#   make test-long  what takes minutes by its nature: a real vLLM killed and broken, the documents' examples
#   make test-fast  only what needs no vLLM, browser, PostgreSQL or Ray
#   make test-lowest      test-fast, each test once, with the lowest version that pyproject.toml allows of each dependency
#   make test-repeat      the same N=20 times, beside a load on every core
#   make bench-load       the load generator beside vllm bench serve and GuideLLM
#   make bench-startup    what a launch costs, warm against plain
#   make bench-truth      how often the answers are right, on simulated studies of known truth
#   make bench-predict    how far the model of a server is off, against measurements
#   make bench-diagnose   how often a diagnosis is right, on servers with a known cause
#   make bench-search     how few launches a search needs, on recorded and simulated surfaces
#   make bench-scale      what many launches at once, many studies in one database and a thousand cards cost
#   make soak       a study whose processes are killed at random for MINUTES=60
#   make check      lint, format, types, layers
#   make install    tuner alone, in .venv
#   make migration m="what changes"    a new file in alembic/versions
#   make clean      remove all that make made

MAKEFLAGS += --no-print-directory
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
GPU ?= $(shell if [ -e /dev/nvidiactl ] || command -v nvidia-smi >/dev/null; then echo auto; else echo cpu; fi)
BIN := .venv/bin
DEMO_STORAGE := sqlite:///.demo/demo.db
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test test-long test-fast test-lowest test-repeat check bench-load bench-startup bench-predict bench-search bench-diagnose bench-scale bench-truth soak install engine packages migration clean
MINUTES ?= 60
ROUNDS ?= 3
SEEDS ?= 30
MODEL ?= .demo/model
# Tests run at once. All that starts a vLLM is run by one of them, so more than two help little.
JOBS ?= 2
N ?= 20
PYTEST = $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder
FAST := not engine and not browser and not postgres and not ray and not long

demo: install engine
	$(BIN)/tuner demo-model .demo/model
	$(BIN)/tuner optimize --gpu $(GPU) --model .demo/model --trials 4 --users 16 --window 8 --precision 0.05 --verify 2 \
	  --study demo --storage $(DEMO_STORAGE) --log-dir .demo/logs
	$(BIN)/tuner export demo --storage $(DEMO_STORAGE) --format yaml --output .demo/vllm.yaml
	$(BIN)/tuner export demo --storage $(DEMO_STORAGE) --format json --output .demo/result.json
	$(BIN)/tuner export demo --storage $(DEMO_STORAGE) --format command --output .demo/command.sh
	@echo "Start the tuned server with: sh .demo/command.sh"

test: .venv/.dev packages engine
	$(PYTEST) -m 'not long'

test-long: .venv/.dev packages engine
	$(PYTEST) -m long

test-fast: .venv/.dev
	$(PYTEST) -m '$(FAST)'

test-lowest: private BIN := .lowest/bin
test-lowest: .lowest/.dev
	$(PYTEST) -m '$(FAST)' --first-parameters

.lowest/.dev: pyproject.toml tests/lowest.py | .venv/.tuner
	rm -rf .lowest
	$(PYTHON) -m venv .lowest
	$(PYTHON) tests/lowest.py > .lowest/versions
	@PIP_CONSTRAINT=.lowest/versions PIP_BUILD_CONSTRAINT=.lowest/versions $(MAKE) pip BIN=.lowest/bin WHAT='.[dev]'
	@touch $@

test-repeat: .venv/.dev
	@loads=; trap 'kill $$loads' EXIT; \
	for core in $$(seq $$(nproc)); do $(BIN)/python -c 'while True: pass' & loads="$$loads $$!"; done; \
	failed=0; for run in $$(seq $(N)); do \
	  echo "== run $$run of $(N)"; $(PYTEST) --quiet -m '$(FAST)' || failed=$$((failed + 1)); \
	done; \
	echo "== $$failed of $(N) runs failed"; [ $$failed = 0 ]

bench-load: install engine .peers/.guidellm
	[ -d .demo/model ] || $(BIN)/tuner demo-model .demo/model
	$(BIN)/python benchmarks/load --rounds $(ROUNDS)

.peers/.guidellm: # another load generator, in an environment of its own
	$(PYTHON) -m venv .peers
	.peers/bin/python -m pip install --quiet 'guidellm==0.8.1' || { echo "make: GuideLLM could not be installed: see above"; exit 1; }
	@touch $@

bench-startup: install engine
	[ -d $(MODEL) ] || $(BIN)/tuner demo-model $(MODEL)
	$(BIN)/python benchmarks/startup.py --gpu $(GPU) --model $(MODEL) --rounds $(ROUNDS)

bench-truth: install
	$(BIN)/python benchmarks/truth

bench-predict: install
	$(BIN)/python benchmarks/predict

bench-diagnose: install engine
	[ -d $(MODEL) ] || $(BIN)/tuner demo-model $(MODEL)
	$(BIN)/python benchmarks/diagnose --gpu $(GPU) --model $(MODEL)

bench-search: install
	$(BIN)/python benchmarks/search --seeds $(SEEDS)

bench-scale: .venv/.dev packages
	$(BIN)/python benchmarks/scale

soak: .venv/.dev engine
	$(BIN)/python tests/soak.py $(MINUTES) $(TUNER_VLLM_PYTHON)

check: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

install: .venv/.tuner

.venv/.tuner: pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "make: no Python 3.11, 3.12 or 3.13 here: install one, or give it: make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv; } >/dev/null 2>&1 || \
	  { echo "make: $(PYTHON) cannot make virtual environments: install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	@$(MAKE) pip WHAT=.
	@touch $@

.venv/.dev: .venv/.tuner
	@$(MAKE) pip WHAT='.[dev]'
	@touch $@

.PHONY: pip
pip:
	$(BIN)/python -m pip install --quiet --editable '$(WHAT)' || \
	  { echo "make: pip could not install tuner: the lines above say why (network, proxy or disk); then run make again"; exit 1; }

ifdef TUNER_VLLM_PYTHON # an engine that is there already
engine:
else
export TUNER_VLLM_PYTHON = $(CURDIR)/.engine/bin/python
engine: .venv/.tuner
	$(BIN)/tuner install-engine .engine
endif

# For the tests with a browser, PostgreSQL or systemd; without them those tests are skipped, with the reason.
packages:
	@missing=; \
	command -v chromium chromium-browser google-chrome >/dev/null || missing="$$missing chromium"; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || missing="$$missing postgresql"; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	[ -z "$$missing" ] || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "make: installing$$missing"; export DEBIAN_FRONTEND=noninteractive; \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	  else false; fi || echo "make: not installed:$$missing; the tests that need it are skipped"; }
	@command -v nvidia-cuda-mps-control >/dev/null || [ -x .mps/usr/bin/nvidia-cuda-mps-control ] || $(MAKE) mps >/dev/null 2>&1 || \
	  echo "make: no nvidia-cuda-mps-control: the tests that need it are skipped"

.PHONY: mps
mps: # NVIDIA's daemon alone, as Debian has it; it needs no GPU and no driver to listen
	rm -rf .mps && mkdir -p .mps/lists/partial
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm non-free" > .mps/debian.list
	cd .mps && from="-o Dir::Etc::SourceList=$$PWD/debian.list -o Dir::Etc::SourceParts=- -o Dir::State::Lists=$$PWD/lists" && \
	  apt-get $$from update && apt-get $$from download nvidia-cuda-mps && dpkg -x nvidia-cuda-mps_*.deb . && rm -rf lists

migration: .venv/.dev
	@[ -n "$(m)" ] || { echo 'usage: make migration m="what changes"'; exit 1; }
	@scratch=$$(mktemp -d) && export TUNER_STORAGE=sqlite:///$$scratch/scratch.db && \
	  $(BIN)/alembic upgrade head && $(BIN)/alembic revision --autogenerate -m "$(m)"; status=$$?; rm -rf "$$scratch"; exit $$status

clean:
	rm -rf .venv .engine .demo .peers .lowest .mps .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
