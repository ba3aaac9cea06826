# Every verb of the project. `make help` explains them.
SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
FILES := build/files
READY := $(VENV)/.ready
IMAGES := $(MAKE) --no-print-directory -j3 quick-images
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Without byte code each of several test runners rewrites all tests for itself: 17 s of a core instead of 7.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help compiled demo test check format run interface bench system peers boot-files discovery-image image images arm64 wheel clean diagrams quick-images

help: ## show this
	@echo "make VERB, where VERB is one of:"
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20 | sed 's/^/  /'

demo: system $(READY) compiled quick-images ## bring up a virtual rack and walk two machines through the whole main job (root; Ctrl-C ends all)
	@$(PYTHON) -m tests.demo

# The images are built beside the tests; those that boot them wait for them (tests/test_built_images.py).
test: peers $(READY) compiled ## install what is missing and run every test, the end-to-end one included (root)
	@mkdir -p build; $(IMAGES) >build/images.log 2>&1 & trap "kill $$! 2>/dev/null; wait" EXIT; \
	$(PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

check: $(READY) ## format, lint, types, and the quick tests that need neither root nor virtual machines
	@$(VENV)/bin/ruff format --check provisioner agent tests
	@$(VENV)/bin/ruff check provisioner agent tests
	@$(VENV)/bin/mypy
	@$(PYTHON) -m pytest -q -m "not rack and not browser and not peer and not crash and not compiled"

format: $(READY) ## format the code
	@$(VENV)/bin/ruff format provisioner agent tests
	@$(VENV)/bin/ruff check --fix provisioner agent tests

run: export PACK := light
run: interface $(READY) compiled boot-files discovery-image ## serve a real network: make run IFACE=eth1 [POOL=10.0.0.100-10.0.0.200] [DATA=run] (root)
	@tools/run.sh "$(IFACE)" "$(POOL)" "$(or $(DATA),run)"

# A wrong name is told before anything is built.
interface:
	@tools/run.sh --check "$(IFACE)"

diagrams: $(READY) ## draw the tables of the lifecycle into docs/lifecycle.md
	@$(PYTHON) -m tests.diagrams

bench: peers $(READY) compiled quick-images ## measure; one figure a line, and build/bench.json
	@$(PYTHON) -m tests.bench

system: ## install the Debian packages that are missing
	@tools/install-packages.sh

peers: system ## install the clients, servers and tools that tests and measurements use beside ours
	@tools/install-packages.sh peers

boot-files: system ## put the network boot programs into build/files
	@PACK= images/boot-files.sh $(FILES)

discovery-image: system ## build the environment that unknown machines boot
	@images/discovery.sh $(FILES)

image: system ## build the Debian 12 disk image
	@images/debian-12.sh $(FILES)

images: boot-files discovery-image image ## build everything that machines boot

quick-images: export PACK := light
quick-images: boot-files discovery-image image ## the same in half the time, packed a fifth larger

arm64: system $(READY) boot-files ## boot an emulated arm64 machine up to the agent (root; takes minutes)
	@tools/install-packages.sh arm64
	@images/arm64.sh $(FILES)
	@$(PYTHON) -m pytest -m arm64 tests/test_boot_arm64.py

compiled: $(READY) ## compile what the packets of a storm go through, unless nothing of it has changed
	@$(PYTHON) tools/compile.py

wheel: $(READY) compiled ## build the wheel into dist/
	@$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls -l dist

clean: ## remove what was built (the virtual environment stays)
	@rm -rf build dist provisioner/built .pytest_cache .mypy_cache .ruff_cache

$(READY): setup.cfg pyproject.toml | system
	@tools/make-venv.sh $(VENV)
	@touch $@
