# Two commands for everybody: `make demo` and `make test`. Both create .venv and install what they need.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# Laboratories start hundreds of commands, and each would compile its modules anew where nothing compiled may be kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo demo-netserv test check bench figures compiled man system clean

help:
	@echo "make demo    two subnets and a router in namespaces: a service of one appears on the other"
	@echo "make demo-netserv  NetServ nodes answer a SIP server's keep-alives; until the module is removed"
	@echo "make test    the whole test suite"
	@echo "make check   ruff, mypy --strict, import-linter"
	@echo "make bench   the simulator, the DHT beside the kademlia package, signalling, and as root the packet path"
	@echo "make figures every figure of thesis chapter 2 from fresh runs, into ./figures (an hour on two cores)"
	@echo "make compiled  the simulator's code compiled with mypyc into .venv-compiled, for the longest runs"
	@echo "make man     the manual pages in man/, from the help of the commands"
	@echo "make clean   remove .venv and caches"

system:
	@sh tools/install_system.sh $(PYTHON)

$(STAMP): pyproject.toml setup.py $(wildcard netserv/*/*.[ch]) | system
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev,figures,cluster,opendht,upnp]'
	@touch $@

demo: system $(STAMP)
	@$(PY) -m tools.demo

demo-netserv: system $(STAMP)
	@$(PY) -m tools.demo_netserv

# On two cores, but for what floods a host: that comes last, one test at a time. Laboratories are apart from each other, and
# mostly wait: six at a time keep two cores busy, with those that share the loopback interface as one of them. The longest of
# them begin, so that no worker is left with one at the end; xdist would begin with the files of most tests. Each worker reads
# all files that it is given: those that have the mark.
marked = $(shell grep -rlE --include='test_*.py' 'mark\.($(1))' tests | sort)
longest := $(patsubst %,tests/end_to_end/test_%.py,node crashes live_subnets mdht two_subnets_merge link_members packet_path \
	behind_nat commands main_job filtered_multicast same_prefix same_names trust) tests/z2z/mdns/test_beside_avahi.py \
	tests/tools/test_netlab.py tests/tools/test_idle_office.py
test: system $(STAMP) check
	@$(PY) -m pytest -m "not lab and not loopback and not heavy" --numprocesses 2 --dist loadfile --no-loadscope-reorder
	@$(PY) -m pytest -m "(lab or loopback) and not heavy" --numprocesses 6 --dist loadfile --no-loadscope-reorder \
		$(longest) $(call marked,loopback) $(call marked,lab)
	@$(PY) -m pytest -m heavy $(call marked,heavy)

check: $(STAMP)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

bench: $(STAMP)
	@$(PY) -m tools.bench_sim
	@$(PY) -m tools.bench_dht
	@$(PY) -m tools.bench_signalling
	@if [ "$$(id -u)" = 0 ]; then $(PY) -m netserv bench --plane both --out figures; else \
		echo "netserv bench needs root: sudo $(PY) -m netserv bench --plane both --out figures"; fi

figures: $(STAMP)
	@$(PY) -m dhtboot figure all --seeds 1-5 --out figures

man: $(STAMP)
	@$(PY) -m tools.man_pages --write

# The same source as machine code, where it is hot. Tests run the pure form; both give the same digests.
compiled:
	@test -x .venv-compiled/bin/python || $(PYTHON) -m venv .venv-compiled
	@.venv-compiled/bin/pip install --quiet --disable-pip-version-check 'setuptools>=77' 'mypy>=1.11' '.[figures]'
	@Z2Z_COMPILE=1 .venv-compiled/bin/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps \
		--force-reinstall .
	@echo "now: .venv-compiled/bin/dhtboot run chord --nodes 128000"

clean:
	rm -rf $(VENV) .venv-compiled build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
