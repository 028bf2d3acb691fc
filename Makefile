# nabe: `make run` and `make test` are the whole menu; `make help` lists the rest.

PREFIX  ?= /usr/local
DESTDIR ?=
ARGS    ?=
SECONDS ?= 60
SHELL   := /bin/bash

target  := $(or $(CARGO_TARGET_DIR),target)
bin     := $(target)/release/nabe

bindir  := $(DESTDIR)$(PREFIX)/bin
mandir  := $(DESTDIR)$(PREFIX)/share/man/man1
bashdir := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
zshdir  := $(DESTDIR)$(PREFIX)/share/zsh/site-functions
fishdir := $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d

.PHONY: help run build test need-build install uninstall test-vm bench fuzz
.DEFAULT_GOAL := help
export ARGS

help:
	@echo "make run         build nabe (installing what that needs) and run 'nabe ps';"
	@echo "                 ARGS passes arguments: make run ARGS=\"'process.pid == 1' -o files\""
	@echo "make test        everything that CI runs: format, lints, tidiness, all tests"
	@echo "make install     binary, man pages and completions into PREFIX ($(PREFIX)); DESTDIR is honoured"
	@echo "make uninstall   takes them away again"
	@echo "make bench       compares nabe with ps, lsof and ss on a population of 5,000 processes (root)"
	@echo "make test-vm     smoke test on other kernels in QEMU, and the systemd cgroup driver (tests/vm/{run,systemd})"
	@echo "make fuzz        every fuzz target for SECONDS=$(SECONDS) seconds (needs a nightly toolchain)"

need-build:
	@.ci/need build

build: need-build
	@cargo build --release --locked --quiet --package nabe

# ARGS is split by the shell, so quotes inside it work; make itself never expands it.
run: build
	@eval "exec '$(bin)' ps $$ARGS"

test: need-build
	@.ci/need test
	@cargo xtask test

install: build
	@set -e; gen=$$(mktemp -d); trap 'rm -rf "$$gen"' EXIT; \
	'$(bin)' gen man "$$gen/man"; '$(bin)' gen completions "$$gen/completions"; \
	install -d '$(bindir)' '$(mandir)' '$(bashdir)' '$(zshdir)' '$(fishdir)'; \
	install -m 755 '$(bin)' '$(bindir)/nabe'; \
	install -m 644 "$$gen"/man/*.1 '$(mandir)/'; \
	install -m 644 "$$gen/completions/nabe.bash" '$(bashdir)/nabe'; \
	install -m 644 "$$gen/completions/_nabe" '$(zshdir)/_nabe'; \
	install -m 644 "$$gen/completions/nabe.fish" '$(fishdir)/nabe.fish'; \
	echo "installed $(bindir)/nabe, man pages and completions"

uninstall:
	@rm -f '$(bindir)/nabe' '$(mandir)/nabe.1' '$(mandir)'/nabe-*.1 \
	  '$(bashdir)/nabe' '$(zshdir)/_nabe' '$(fishdir)/nabe.fish'

test-vm: build
	@status=0; export NABE='$(abspath $(bin))'; tests/vm/run || status=1; tests/vm/systemd || status=1; exit $$status

bench: build
	@NABE='$(abspath $(bin))' benches/ps.sh

fuzz: need-build
	@fuzz/run $(SECONDS)
