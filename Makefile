# Every target builds what it needs: a fresh machine has Python 3.11 and make.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
# Without bytecode, each process of the tests would compile all modules, and each of
# pytest's workers would rewrite the asserts of all tests.
export PYTHONDONTWRITEBYTECODE :=
READY := $(VENV)/.ready-demo
READY_DEV := $(VENV)/.ready-dev
RELEASE := .venv-release
NEWEST := .venv-newest
LOWEST := .venv-lowest
# Beside that of .venv: all tests run with each of them that is there.
PYTHONS ?= python3.12 python3.13 python3.14
# Some tests wait for servers and clocks of their own. Each worker takes seconds to
# collect the tests, and twice as many with coverage. There are two sets of them.
CORES := $(shell getconf _NPROCESSORS_ONLN)
WORKERS ?= $(shell echo $$(( ($(CORES) * 3 + 1) / 2 )))

PIP := python -m pip --disable-pip-version-check --quiet
TESTS := pytest -n $(WORKERS) --dist worksteal
PYTEST := python -m $(TESTS)
# The known versions, of what builds the package too.
KNOWN := -c constraints.txt --build-constraint constraints.txt

.PHONY: .checked .compiled .measured .unmeasured \
	demo test test-newest test-lowest test-pythons constraints lint docs \
	reference screenshots bench release rehearsal clean

demo: $(READY)
	$(BIN)/python -m demo_app --port $(PORT)

# Measuring coverage takes two fifths more time. What runs in these tests is measured
# elsewhere, where its modules are tested: they use whole sites, browsers or documents,
# calculate much, or look at the source.
UNMEASURED := $(addprefix tests/, benchmarks chromium planning release \
	test_architecture.py test_deprecations.py test_docs.py test_llms.py \
	test_packaging.py test_readme.py test_site.py test_user_types.py \
	client/budget/test_minutes.py concurrency/test_event_loops.py \
	logs/test_log_events.py \
	$(addprefix attacks/test_, browser.py caches.py headers.py lines.py \
	marked_values.py markup.py overlay.py tokens.py) \
	demo_app/test_browser.py demo_app/test_browser_features.py \
	django/test_sources.py \
	$(addprefix end_to_end/test_, celery.py deploy.py faults.py no_event_lost.py \
	session.py varnish.py) \
	$(addprefix frameworks/test_, asgi_loops.py asgi_matrix.py asgi_servers.py \
	asgi_transparency.py wsgi_matrix.py wsgi_servers.py) \
	$(addprefix sandbox/, pages/test_browser.py reports/test_activity.py \
	test_hostile.py test_image.py test_openapi.py test_workspace_docs.py))

# All at once: where tests of one kind wait, those of the other go on.
test: $(READY_DEV)
	$(BIN)/coverage erase
	$(MAKE) --no-print-directory -j3 .checked .measured .unmeasured
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

# In a new checkout, all workers, half of them slowed by coverage, would compile the same
# files at once. They show what is wrong, if something is.
.compiled:
	@test -d tests/__pycache__ || \
		$(BIN)/python -m pytest --collect-only -q > /dev/null 2>&1 || true

.measured: .compiled
	$(BIN)/coverage run -m $(TESTS) $(UNMEASURED:%=--ignore=%)

# Its output is shown at its end, so that the lines of both do not mix.
.unmeasured: .compiled
	@$(BIN)/$(PYTEST) $(UNMEASURED) > $(VENV)/unmeasured.log 2>&1 || \
		{ cat $(VENV)/unmeasured.log; exit 1; }
	@tail -n 1 $(VENV)/unmeasured.log

# All tests with the newest versions that pyproject.toml allows.
test-newest: $(NEWEST)/bin/python
	$(NEWEST)/bin/$(PIP) install -U --upgrade-strategy eager pip -e '.[all]' --group dev
	$(NEWEST)/bin/$(PYTEST)

# All tests with the lowest versions of what the package and its extras need.
test-lowest: $(LOWEST)/bin/python
	$(LOWEST)/bin/python .ci/lowest.py > $(LOWEST)/requirements.txt
	$(LOWEST)/bin/$(PIP) install --no-deps -r $(LOWEST)/requirements.txt -e .
	$(LOWEST)/bin/$(PYTEST)

# All tests with other versions of Python.
test-pythons:
	WORKERS=$(WORKERS) .ci/pythons $(PYTHONS)

# What is newest today becomes what is known to work: run the tests, then commit it.
constraints:
	rm -rf $(NEWEST)
	$(MAKE) $(NEWEST)/bin/python
	$(NEWEST)/bin/$(PIP) install -U pip -e '.[all]' --group dev --group release \
		editables
	{ sed '/^#/!d' constraints.txt && $(NEWEST)/bin/$(PIP) freeze --all --exclude-editable; \
	  } > $(NEWEST)/constraints.txt
	mv $(NEWEST)/constraints.txt constraints.txt

lint: $(READY_DEV) .checked
	$(BIN)/zensical build --strict

# The tests build the documentation, as strictly.
.checked:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(READY_DEV)
	$(BIN)/zensical build --strict --clean
	$(BIN)/python .ci/llms.py > site/llms.txt
	@echo "site/index.html, or, as it is written: $(BIN)/zensical serve"

# The parts of docs/reference/ that the settings and the commands say.
reference: $(READY_DEV)
	$(BIN)/python -m tests.reference_parts

# docs/images/, from the running demo.
screenshots: $(READY_DEV)
	$(BIN)/python -m tests.screenshots

bench: $(READY_DEV)
	$(BIN)/python -m benchmarks

# Everything of a release, in dist/; nothing is uploaded. A rehearsal goes on where a
# release would be refused.
release: $(RELEASE)/.ready
	$(RELEASE)/bin/python -m release

rehearsal: $(RELEASE)/.ready
	$(RELEASE)/bin/python -m release --rehearsal

clean:
	rm -rf $(VENV) $(VENV)-* .coverage* .mypy_cache .ruff_cache .cache dist site

# The pip that comes with Python may be too old for what is asked of it below.
%/bin/python: | constraints.txt
	$(PYTHON) -m venv $*
	$*/bin/$(PIP) install -U -c constraints.txt pip

$(READY): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/$(PIP) install -U -c constraints.txt pip
	$(BIN)/$(PIP) install $(KNOWN) -e '.[all]'
	@touch $@

$(READY_DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/$(PIP) install -U -c constraints.txt pip
	$(BIN)/$(PIP) install $(KNOWN) -e '.[all]' --group dev
	@touch $@

$(RELEASE)/.ready: pyproject.toml constraints.txt | $(RELEASE)/bin/python
	$(RELEASE)/bin/$(PIP) install $(KNOWN) --group release
	@touch $@
