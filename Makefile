# make demo           frameworks side by side over one store, at http://localhost:8080/ and the ports behind
#                     STORE=sqlite (or a URL)  FRAMEWORK=flask (comes first)  IDLE=60 (seconds)  PORT=8090  HOST=0.0.0.0
# make docs           the documentation as HTML, in build/docs; a warning or a link within it to nowhere is an error
# make linkcheck      whether its links to other sites lead somewhere; needs the internet
# make test           everything that must hold, in one pytest run; JOBS=4 processes
# make test-lowest    the same with the lowest version of everything that setup.py allows
# make test-pairs     every adapter on every store; ARGS="-k 'Flask and Redis'"
# make test-clusters  the stores on engines of several hosts, while a part of them is killed or cut off
# make explore        every schedule of overlapping requests, and every fault at each step, in a quarter of an hour; and a
#                     sample of them on each server
# make soak           ten minutes of load, kill -9 and server restarts, and a check that nothing was lost
# make bench          how fast the stores are
# make bench-growth   what a request and a purge cost when there are many sessions; ARGS="sqlite --sizes 1000 100000"
# make bench-http     how fast whole requests are over HTTP, beside those of others; ARGS="--quick 'quixote*'"
# make help           this
#
# Nothing but make and Python 3.10 or later need be there before; all else goes into .venv.

PYTHON ?= python3

STORE ?= directory
FRAMEWORK ?= quixote
HOST ?= 127.0.0.1
PORT ?= 8080
IDLE ?=

# How many processes share the tests; each starts the servers it needs. In which order, test/conftest.py says.
JOBS ?= 2
SHARED = -n $(JOBS) --dist loadfile --no-loadscope-reorder

# Quixote is built by a C compiler.
CAN_QUIXOTE = $(or $(wildcard .venv/with-*quixote),$(shell . test/system-packages.sh; can_compile $(PYTHON) && echo yes))
SERVED_BY = $(if $(CAN_QUIXOTE),$(FRAMEWORK),$(FRAMEWORK:quixote=cherrypy))

# Two frameworks are enough to see a session go from one to the other; who has more of them sees all.
comma := ,
empty :=
DEMO_EXTRAS = $(subst $(empty) $(empty),$(comma),$(sort cherrypy $(SERVED_BY) $(if $(CAN_QUIXOTE),quixote) $(STORE_EXTRA)))

# The extra that the store of the demonstration needs, if it needs one: the core runs from here, with nothing installed.
STORE_EXTRA = $(shell $(PYTHON) -c 'from session2.urls import extra_of; print(extra_of("$(firstword $(subst :, ,$(STORE)))"))')

# Stores of other distributions are known where those are installed.
KNOWING = $(or $(wildcard .venv/bin/python),$(PYTHON))

# What the lowest CherryPy imports, Python 3.11 and 3.12 warn of.
OLD_CHERRYPY := -W "ignore:'cgi' is deprecated:DeprecationWarning"

ARGS ?=

.PHONY: demo known python help test test-lowest test-pairs test-clusters bench bench-growth bench-http soak docs linkcheck explore
.DEFAULT_GOAL := demo

demo: known
	@$(MAKE) --silent --no-print-directory .venv/with-$(DEMO_EXTRAS) \
		$(if $(filter starlette,$(SERVED_BY)),.venv/has-uvicorn)
ifeq ($(FRAMEWORK),quixote)
	@test $(SERVED_BY) = quixote || echo "Quixote needs a C compiler and the headers of Python, which are not here:" \
		"CherryPy serves the demo instead."
endif
	@.venv/bin/python -m demo '$(STORE)' --framework $(SERVED_BY) --host $(HOST) --port $(PORT) $(IDLE:%=--idle %)

# Before anything is installed for what does not exist.
known: | python
	@$(KNOWING) -m demo '$(STORE)' --framework '$(FRAMEWORK)' --check

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

test: .venv/with-all,dev
	@sh test/pouchdb/install.sh .venv
	.venv/bin/python -m pytest $(SHARED)

# The types are checked against the newest: earlier libraries had none.
test-lowest: .venv-lowest/constraints.txt | .venv/system-packages
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -e '.[all,dev]' -c $<
	@sh test/pouchdb/install.sh .venv-lowest
	.venv-lowest/bin/python -m pytest $(SHARED) --ignore test/test_checks.py $(OLD_CHERRYPY) $(ARGS)

bench: .venv/with-all,dev
	@sh test/pouchdb/install.sh .venv
	.venv/bin/python test/bench $(ARGS)

bench-growth: .venv/with-all,dev
	.venv/bin/python test/bench/growth.py $(ARGS)

bench-http: .venv/with-all,dev
	.venv/bin/python test/bench/http $(ARGS)

docs: .venv/with-docs
	.venv/bin/python -m sphinx -E -W -q -b html docs build/docs
	@echo "Open build/docs/index.html"

linkcheck: .venv/with-docs
	.venv/bin/python -m sphinx -q -b linkcheck docs build/linkcheck

explore: .venv/with-all,dev
	@sh test/pouchdb/install.sh .venv
	SESSION2_SCENARIOS=120 .venv/bin/python -m pytest -n $(JOBS) --timeout 1200 test/store/test_schedules_on_servers.py
	.venv/bin/python -m session2.testing.schedules --jobs $(JOBS) $(ARGS)

soak: .venv/with-all,dev
	@sh test/pouchdb/install.sh .venv
	.venv/bin/python -W error test/soak $(ARGS)

test-pairs: .venv/with-all,dev
	SESSION2_PAIRS=1 .venv/bin/python -m pytest test/pairs -n $(JOBS) --dist loadscope $(ARGS)

test-clusters: .venv/with-all,dev
	@sh test/system-packages.sh clusters $(PYTHON)
	@sh test/pouchdb/install.sh .venv
	.venv/bin/python test/clusters $(ARGS)

# -- how the environment is made; what is up to date is not made again ------------------------------------------------

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "session2 needs Python 3.10 or later; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }

%/bin/python: | python
	@sh test/system-packages.sh venv $(PYTHON)
	$(PYTHON) -m venv $*

.venv/with-%: setup.py | .venv/bin/python
	@echo "Installing into .venv for session2[$*]: $$($(PYTHON) test/requirements.py $*)"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch '$@'

.venv/has-%: | .venv/bin/python
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check '$*'
	@touch '$@'

.venv-lowest/constraints.txt: setup.py test/requirements.py | .venv-lowest/bin/python
	.venv-lowest/bin/python test/requirements.py --lowest all dev >$@

.venv/with-all,dev: | .venv/system-packages

.venv/system-packages: test/system-packages.txt | .venv/bin/python
	@sh test/system-packages.sh tests $(PYTHON)
	@touch $@
