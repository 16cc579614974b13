# make demo           pretrain on the embedded example (3 minutes of training; MINUTES=1 for less), show what was learned
# make test           run the tests
# make test-slow      the tests that take minutes
# make lint           style and types
# make fuzz           search for files that crash or stall a parser, guided by coverage; MINUTES=60 of processor time
# make audit          known vulnerabilities, unsafe code, and an SBOM in dist/
# make lock           scripts/release-lock.txt: version and hashes of all that a release needs
# make docs           run the notebooks and build the pages into site/
# make check-install  the wheel in new environments, with each supported Python found here: every command, and the demo
# make bench          the benchmarks, minutes on the embedded example; TABLE=table.biom TREE=tree.nwk for another study
#
# Everything happens in .venv, made on first use; PYTHON=/path/to/python chooses the Python, VENV=folder another environment.

VENV ?= .venv
WORKERS ?= 2
MINUTES ?= 3
BIN := $(VENV)/bin
STUDY := $(if $(TABLE),--table $(TABLE) --tree $(TREE))
SETTINGS := setup.cfg pyproject.toml constraints.txt

.PHONY: demo test test-slow lint fuzz audit lock docs bench check-install
.DEFAULT_GOAL := demo

# One stamp per set of extras: installed again only when a requirement changes.
$(VENV)/.installed: $(SETTINGS)
	scripts/install $(VENV)
	@touch $@

$(VENV)/.installed-%: $(SETTINGS)
	scripts/install $(VENV) $*
	@touch $@

demo: $(VENV)/.installed
	rm -rf aam-example
	$(BIN)/aam pretrain --example --output-dir aam-example --preset tiny --max-minutes $(MINUTES)

# One arithmetic thread per worker: more of them only wait for each other.
test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS)

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -m slow

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

# The fuzzer and the audit have environments of their own: their packages have no place among those that are tested.
fuzz:
	$(MAKE) VENV=.venv-fuzz .venv-fuzz/.installed-fuzz
	OMP_NUM_THREADS=1 .venv-fuzz/bin/python tests/faults/fuzz.py --minutes $(if $(filter command,$(origin MINUTES)),$(MINUTES),60)

audit:
	scripts/audit .venv-audit

lock:
	$(or $(PYTHON),python3) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --constraint constraints.txt uv
	.venv-audit/bin/uv pip compile setup.cfg --quiet --universal --python-version 3.11 --constraint constraints.txt \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --output-file scripts/release-lock.txt

docs: $(VENV)/.installed-docs
	$(BIN)/python scripts/make_command_page.py
	$(BIN)/python scripts/make_encoder_page.py
	$(BIN)/mkdocs build --strict

# Any Python >= 3.11 runs the script; it finds those to check with by itself.
check-install:
	$(or $(PYTHON),python3) scripts/check_install.py

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/step.py $(STUDY)
	$(BIN)/python benchmarks/best_batch.py $(STUDY)
	$(BIN)/python benchmarks/parity.py $(STUDY)
	$(BIN)/python benchmarks/embed.py $(STUDY)
	$(BIN)/python benchmarks/embed_table.py $(STUDY) --rounds 1
	$(BIN)/python benchmarks/assembly.py $(STUDY)
	$(BIN)/python benchmarks/targets.py
	$(BIN)/python benchmarks/table_open.py
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/guard.py --steps 50
	$(BIN)/python benchmarks/health.py --steps 50
	$(BIN)/python benchmarks/ranks.py --batch-size 8 --ranks 1,2
	$(BIN)/python benchmarks/scale.py --samples 1000 --nodes 10000 --simulate 10000 --simulate-asvs 100000
