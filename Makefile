# protocol-hook: see README.md.  Knobs, on the command line or exported:
CC ?= cc
CFLAGS ?= -O2 -g
LDFLAGS ?=
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
CGIDIR ?=
SPOOLDIR ?= /var/spool/protocol-hook
PKG_CONFIG ?= pkg-config
STATIC ?=
DESTDIR ?=

VERSION := 0.1.0
LIBRARIES = fcgi nettle json-c
SOURCES = protocol-hook.c gateway.c connections.c verify.c json.c events.c \
	spool.c reply.c config.c commands.c util.c
OBJECTS = $(SOURCES:%.c=build/%.o)
# All but main, for the unit tests.
ROOMS = $(filter-out build/protocol-hook.o,$(OBJECTS))

WARNINGS = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wconversion -Wpedantic
# What the compiler has of these; an empty file tells.
has = $(shell $(CC) -Werror $(1) -O2 -c -x c -o /dev/null /dev/null \
	2>/dev/null && echo $(1))
HARDEN := $(call has,-fstack-protector-strong) \
	$(call has,-fstack-clash-protection) \
	$(call has,-ftrivial-auto-var-init=zero) -fPIE
# Where it optimizes: FORTIFY needs that, and distributions set their own.
FORTIFY := $(if $(findstring FORTIFY,$(CFLAGS) $(CPPFLAGS)),,$(if \
	$(filter -O1 -O2 -O3 -Os,$(CFLAGS)),$(call \
	has,-D_FORTIFY_SOURCE=3)))

static = $(if $(STATIC),--static)
HOOK_CPPFLAGS = -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 \
	-DVERSION='"$(VERSION)"' -DSPOOLDIR='"$(SPOOLDIR)"' -I. \
	$(shell $(PKG_CONFIG) $(static) --cflags $(LIBRARIES))
HOOK_CFLAGS = -std=c11 $(WARNINGS) $(HARDEN) $(FORTIFY)
HOOK_LDFLAGS = -Wl,-z,relro,-z,now $(if $(STATIC),-static-pie,-pie)
HOOK_LIBS = $(shell $(PKG_CONFIG) $(static) --libs $(LIBRARIES))
COMPILE = $(CC) $(HOOK_CPPFLAGS) $(CPPFLAGS) $(HOOK_CFLAGS) $(CFLAGS)
LINK = $(CC) $(HOOK_CFLAGS) $(CFLAGS) $(HOOK_LDFLAGS) $(LDFLAGS)

NEED = sh scripts/need

.PHONY: all demo serve check check-all lint install uninstall clean dist bench \
	bench-cgi bench-scale
.DELETE_ON_ERROR:

all: protocol-hook

protocol-hook: $(OBJECTS)
	$(LINK) -o $@ $(OBJECTS) $(HOOK_LIBS)

build/%.o: %.c hook.h Makefile build/flags
	$(COMPILE) -c -o $@ $<

# Changes when the flags do, so that other flags mean another build.
build/flags: FORCE
	@mkdir -p build
	@echo '$(COMPILE) $(LINK)' | cmp -s - $@ || \
	    echo '$(COMPILE) $(LINK)' > $@
FORCE:

# Requests are late after a second, for the tests.
build/quick/protocol-hook: $(SOURCES) hook.h build/flags
	@mkdir -p build/quick
	$(COMPILE) -DREQUEST_SECONDS=1 -o $@ $(SOURCES) $(HOOK_LDFLAGS) \
	    $(LDFLAGS) $(HOOK_LIBS)

build/unit-%: tests/unit/%.c $(ROOMS)
	$(COMPILE) -o $@ $< $(ROOMS) $(HOOK_LDFLAGS) $(LDFLAGS) \
	    $(HOOK_LIBS) $$($(PKG_CONFIG) --cflags --libs cmocka)

# The demo and the tests set up what they need; a make of their own then
# sees what was installed.
demo serve:
	$(NEED) build demo
	$(MAKE) all
	sh examples/demo $@

check:
	$(NEED) build check
	$(MAKE) run-core

check-all:
	$(NEED) build check check-all
	$(MAKE) run-all

UNIT_TESTS = $(patsubst tests/unit/%.c,build/unit-%,$(wildcard tests/unit/*.c))
CORE_TESTS = tests/unit.t $(sort $(wildcard tests/core/*.t))
ALL_TESTS = $(CORE_TESTS) $(sort $(wildcard tests/servers/*.t \
	tests/faults/*.t tests/integration/*.t))

TESTED = all $(UNIT_TESTS) build/quick/protocol-hook

run-core: $(TESTED)
	prove -Itests/lib --timer $(PROVEFLAGS) $(CORE_TESTS)

run-all: $(TESTED)
	prove -Itests/lib --timer $(PROVEFLAGS) $(ALL_TESTS)

lint:
	$(NEED) build check lint
	$(MAKE) run-lint

# Never timed tests: what these print is for people.
BENCH = $(patsubst %,build/bench/%,load bare noop fill hello hello-static \
	spawn)

build/bench/%: bench/%.c bench/body.c bench/bench.h build/flags
	@mkdir -p build/bench
	$(COMPILE) -o $@ $< bench/body.c $(HOOK_LDFLAGS) $(LDFLAGS) $(HOOK_LIBS)

build/bench/hello-static: bench/hello.c build/flags
	@mkdir -p build/bench
	$(CC) $(CFLAGS) -static-pie -o $@ $<

build/bench/hello: bench/hello.c build/flags
	@mkdir -p build/bench
	$(CC) $(CFLAGS) -o $@ $<

bench bench-cgi bench-scale:
	$(NEED) build bench
	$(MAKE) all $(BENCH)
	bench/$(if $(@:bench=),$(@:bench-%=%),run) $(if $(QUICK),quick)

SCRIPTS = $(shell git ls-files -z 2>/dev/null | xargs -0 grep -lE \
	'^\#!(/bin/sh|/usr/bin/env bash|/bin/bash)' 2>/dev/null)
# Left out: what -Wconversion says better, what is style, and two that take
# correct code for wrong (clang-tidy 14).
CHECKS = clang-analyzer-*,-clang-analyzer-valist.Uninitialized,$(\
	)-clang-analyzer-security.insecureAPI.*,bugprone-*,$(\
	)-bugprone-narrowing-conversions,-bugprone-branch-clone,$(\
	)-bugprone-implicit-widening-of-multiplication-result,$(\
	)-bugprone-easily-swappable-parameters,$(\
	)-bugprone-assignment-in-if-condition

run-lint:
	for cc in gcc clang; do for f in $(SOURCES); do \
	    $$cc $(HOOK_CPPFLAGS) -std=c11 $(WARNINGS) -Werror -O2 \
	    -fsyntax-only $$f || exit 1; done; done
	cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr \
	    --enable=warning,portability,performance \
	    --suppress=missingIncludeSystem -D_GNU_SOURCE -D__linux__ \
	    $(SOURCES)
	clang-tidy --quiet --warnings-as-errors='*' --checks='-*,$(CHECKS)' \
	    $(SOURCES) -- $(HOOK_CPPFLAGS) -std=c11 2>/dev/null
	cd man && mandoc -Tlint -Wstyle *.[1-9]
	shellcheck $(SCRIPTS)

install: all
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man8 \
	    $(DESTDIR)$(MANDIR)/man5
	install -m 755 protocol-hook $(DESTDIR)$(BINDIR)/protocol-hook
	install -m 644 man/*.8 $(DESTDIR)$(MANDIR)/man8/
	install -m 644 man/*.5 $(DESTDIR)$(MANDIR)/man5/
	if [ -n "$(CGIDIR)" ]; then install -d $(DESTDIR)$(CGIDIR) && \
	    install -m 755 protocol-hook $(DESTDIR)$(CGIDIR)/; fi

# The spool and what is in it stay.
uninstall:
	rm -f $(DESTDIR)$(BINDIR)/protocol-hook
	rm -f $(patsubst man/%,$(DESTDIR)$(MANDIR)/man8/%,$(wildcard man/*.8))
	rm -f $(patsubst man/%,$(DESTDIR)$(MANDIR)/man5/%,$(wildcard man/*.5))
	if [ -n "$(CGIDIR)" ]; then \
	    rm -f $(DESTDIR)$(CGIDIR)/protocol-hook; fi

clean:
	rm -rf build protocol-hook

dist:
	@mkdir -p build
	git archive --format=tar --prefix=protocol-hook-$(VERSION)/ HEAD | \
	    gzip -9n > build/protocol-hook-$(VERSION).tar.gz
	@echo build/protocol-hook-$(VERSION).tar.gz
