# protocol-hook: see README.md.  Knobs, on the command line or exported:
CC ?= cc
CFLAGS ?= -O2 -g
LDFLAGS ?=
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
# Completion, and, where they are named, the units of systemd and a CGI program.
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
UNITDIR ?=
CGIDIR ?=
SPOOLDIR ?= /var/spool/protocol-hook
PKG_CONFIG ?= pkg-config
STATIC ?=
DESTDIR ?=

VERSION := 0.1.0
LIBRARIES = fcgi nettle json-c
# Older ones lack calls that are made, or were never tried.
OLDEST = 'fcgi >= 2.4.2' 'nettle >= 3.4' 'json-c >= 0.15'
SOURCES = protocol-hook.c gateway.c connections.c verify.c json.c events.c \
	spool.c sandbox.c reply.c log.c config.c service.c commands.c check.c \
	status.c replay.c watch.c util.c
OBJECTS = $(SOURCES:%.c=build/%.o)
# Those that look at the clock.
CLOCKED = gateway.c reply.c spool.c check.c status.c util.c
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
	$(filter -O1 -O2 -O3 -Os -Og,$(CFLAGS)),$(call \
	has,-D_FORTIFY_SOURCE=3)))

static = $(if $(STATIC),--static)
HOOK_CPPFLAGS = -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 \
	-DVERSION='"$(VERSION)"' -DSPOOLDIR='"$(SPOOLDIR)"' -I. \
	$(STATIC:%=-DSTATIC) $(shell $(PKG_CONFIG) $(static) --cflags $(LIBRARIES))
# The folder is not part of what is built; PWD, as a link may lead here.
export PWD := $(CURDIR)
MAPPED := $(if $(call has,-fdebug-prefix-map=/x=.),\
	-fdebug-prefix-map='$(CURDIR)=.')
HOOK_CFLAGS = -std=c11 $(WARNINGS) $(HARDEN) $(FORTIFY) $(MAPPED) -pthread
# macOS's linker, for one, knows nothing of these.
links = $(shell echo 'int main(void) { return 0; }' | $(CC) $(1) -x c \
	-o /dev/null - 2>/dev/null && echo $(1))
relro = -Wl,-z,relro,-z,now
RELRO := $(call links,$(relro))
HOOK_LDFLAGS = $(RELRO) $(if $(STATIC),-static-pie,-pie)
HOOK_LIBS = $(shell $(PKG_CONFIG) $(static) --libs $(LIBRARIES))
COMPILE = $(CC) $(HOOK_CPPFLAGS) $(CPPFLAGS) $(HOOK_CFLAGS) $(CFLAGS)
LINK = $(CC) $(HOOK_CFLAGS) $(CFLAGS) $(HOOK_LDFLAGS) $(LDFLAGS)

MAKEFLAGS += --no-print-directory
NEED = sh scripts/need

.PHONY: all have have-nats demo serve check check-all tested check-consume \
	check-kafka check-nats check-postgresql check-asan check-port coverage \
	servers-matrix torture torture-nats soak fuzz bench bench-cgi \
	bench-instructions bench-scale nats lint run-lint-nats install \
	uninstall clean dist check-release deb rpm
.DELETE_ON_ERROR:

all: protocol-hook

protocol-hook: $(OBJECTS)
	$(LINK) -o $@ $(OBJECTS) $(HOOK_LIBS)

build/%.o: %.c hook.h Makefile build/flags
	$(COMPILE) -c -o $@ $<

# Before anything asks for flags: says what is missing, all at once.
have:
	@CC='$(CC)' PKG_CONFIG='$(PKG_CONFIG)' sh scripts/have $(OLDEST)

have-nats:
	@CC='$(CC)' PKG_CONFIG='$(PKG_CONFIG)' \
	    sh scripts/have $(OLDEST) libnats

# Changes when the flags do, so that other flags mean another build.
build/flags: FORCE | have
	@mkdir -p build
	@echo '$(COMPILE) $(LINK)' | cmp -s - $@ || \
	    echo '$(COMPILE) $(LINK)' > $@
FORCE:

# The program but for SOURCES, which are compiled with FLAGS, for the tests.
other = @mkdir -p $(@D) && $(COMPILE) $(2) -o $@ $(1) $(filter-out \
	$(1:%.c=build/%.o),$(OBJECTS)) $(HOOK_LDFLAGS) $(LDFLAGS) $(HOOK_LIBS)

# Requests are late after a second.
build/quick/protocol-hook: $(OBJECTS)
	$(call other,connections.c gateway.c,-DREQUEST_SECONDS=1)

# Makes calls fail, for the tests.
build/shim.so: tests/faults/shim.c build/flags
	$(CC) -std=c11 -D_GNU_SOURCE -O1 -g -fPIC -fno-builtin -shared -o $@ $< -ldl

# Others of its user may look at the process: for tests without root.
build/dumpable/protocol-hook: $(OBJECTS) tests/dumpable/dumpable.h
	$(call other,sandbox.c,-include tests/dumpable/dumpable.h)

# Without inotify.
build/poll/protocol-hook: $(OBJECTS)
	$(call other,watch.c,-DWATCH_POLL)

# With the unit's files in the directory root/ below the current one.
build/root/protocol-hook: $(OBJECTS)
	$(call other,service.c,-DROOTDIR='"root"')

# In another year.
build/later/protocol-hook: $(OBJECTS) tests/later/later.c tests/later/later.h
	$(call other,$(CLOCKED) tests/later/later.c,-include tests/later/later.h)

build/unit-%: tests/unit/%.c $(ROOMS)
	$(COMPILE) -o $@ $< $(ROOMS) $(HOOK_LDFLAGS) $(LDFLAGS) \
	    $(HOOK_LIBS) $$($(PKG_CONFIG) --cflags --libs cmocka)

# To be run under valgrind, for the tests.
build/constant-time: tests/constant-time.c build/verify.o build/util.o
	$(COMPILE) -o $@ $^ $(HOOK_LDFLAGS) $(LDFLAGS) $(HOOK_LIBS)

# The core tests in a copy that is built with sanitizers.  A process that can't
# be looked at, as ours, can't be looked at for leaks: tests/integration/leaks.t
# does that.
SANITIZE = -O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all \
	-fsanitize=address,undefined

check-asan:
	$(NEED) build check
	sh scripts/copy build/asan
	ASAN_OPTIONS=detect_leaks=0 $(MAKE) -C build/asan run-core-asan

all-asan run-core-asan: %-asan:
	$(MAKE) CFLAGS='$(SANITIZE)' CPPFLAGS=-U_FORTIFY_SOURCE $*

# What tests come by, in a copy that gcov counts.
COVERAGE = CC=gcc CFLAGS='-O0 -g --coverage -fprofile-update=atomic' \
	LDFLAGS=tests/counted.c
COVERAGE_TESTS = $(CORE_TESTS) \
	$(addprefix tests/faults/,alloc.t cgi.t commands.t \
	disks.t doors.t threads.t)

coverage:
	$(NEED) build check
	rm -rf build/coverage
	sh scripts/copy build/coverage
	$(MAKE) -C build/coverage $(COVERAGE) run-coverage

# Targets of libFuzzer, whose corpora grow in build/corpus.
FUZZ_TARGETS = $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
FUZZ_COMPILE = clang $(HOOK_CPPFLAGS) -std=c11 $(WARNINGS) -g -O1 \
	-fno-omit-frame-pointer -fno-sanitize-recover=all
SECONDS = 60

build/fuzz/%.o: %.c hook.h Makefile
	@mkdir -p build/fuzz
	$(FUZZ_COMPILE) -fsanitize=fuzzer-no-link,address,undefined -c -o $@ $<

# One of them has gateway.c in it, to call what is static there.
build/fuzz/%: tests/fuzz/%.c $(ROOMS:build/%=build/fuzz/%)
	$(FUZZ_COMPILE) -fsanitize=fuzzer,address,undefined -o $@ $< $(if \
	    $(filter fastcgi,$*),$(filter-out build/fuzz/gateway.o,$(filter \
	    %.o,$^)),$(filter %.o,$^)) $(HOOK_LIBS)

.PRECIOUS: build/fuzz/%.o

build/fuzz/read: tests/fuzz/strict/read.c build/fuzz/json.o build/fuzz/events.o \
    build/fuzz/util.o
	$(FUZZ_COMPILE) -fsanitize=address,undefined -o $@ $^ $(HOOK_LIBS)

FUZZ_BUILT = $(FUZZ_TARGETS:%=build/fuzz/%) build/fuzz/read

# The targets without the fuzzer.
build/seeds/%-seeds: tests/fuzz/%.c tests/fuzz/seeds/main.c $(ROOMS)
	@mkdir -p build/seeds
	$(COMPILE) -o $@ $(filter-out $(if $(filter \
	    fastcgi,$*),build/gateway.o),$^) $(HOOK_LDFLAGS) $(LDFLAGS) \
	    $(HOOK_LIBS)

SEEDED = $(FUZZ_TARGETS:%=build/seeds/%-seeds)

fuzz:
	$(NEED) build fuzz
	$(MAKE) $(FUZZ_BUILT)
	for t in $(FUZZ_TARGETS); do \
	    sh tests/fuzz/run $$t $(SECONDS) || exit 1; done

# The demo and the tests set up what they need; a make of their own then
# sees what was installed.
demo serve:
	$(NEED) build demo
	$(MAKE) -s all
	sh examples/demo $@

check:
	$(NEED) build check
	$(MAKE) run-core

check-all:
	$(NEED) build check check-all fuzz valgrind consume nats kafka \
	    postgresql
	$(MAKE) run-all
	$(MAKE) check-asan

# Every web server, and the page that says what came of it.
servers-matrix:
	$(NEED) build check check-all
	$(MAKE) all
	-prove -Itests/lib --timer $(PROVEFLAGS) $(filter-out \
	    %/matrix.t,$(wildcard tests/servers/*.t))
	perl -Itests/lib -MServers::Matrix -e write_page

# Other compilers, C libraries, machines and systems, or only those in PORT,
# and the page that says what came of it.
check-port:
	$(NEED) build check port
	perl tests/port/run $(PORT)

# One of the spool's other sides alone.
check-consume check-kafka check-nats check-postgresql: check-%:
	$(NEED) build check $*
	$(MAKE) run-$*

# A hundred thousand deliveries through the whole chain, with all the kills.
torture-nats:
	$(NEED) build check nats
	DELIVERIES=100000 $(MAKE) run-nats

UNIT_TESTS = $(patsubst tests/unit/%.c,build/unit-%,$(wildcard tests/unit/*.c))
CORE_TESTS = tests/unit.t $(sort $(wildcard tests/core/*.t))
ALL_TESTS = $(CORE_TESTS) $(sort $(wildcard tests/servers/*.t \
	tests/faults/*.t tests/integration/*.t))

TESTED = all $(UNIT_TESTS) $(SEEDED) build/quick/protocol-hook \
	build/dumpable/protocol-hook build/poll/protocol-hook \
	build/root/protocol-hook \
	build/later/protocol-hook build/shim.so

run-coverage: $(TESTED)
	prove -Itests/lib --timer $(PROVEFLAGS) $(COVERAGE_TESTS); r=$$?; \
	    perl scripts/coverage $(SOURCES) && exit $$r

tested: $(TESTED)

run-core: $(TESTED)
	prove -Itests/lib --timer $(PROVEFLAGS) $(CORE_TESTS)

run-all: $(TESTED) $(FUZZ_BUILT) build/protocol-hook-nats build/nats-memory
	prove -Itests/lib --timer $(PROVEFLAGS) $(ALL_TESTS)

# Hours: 500 power cuts; a million deliveries with restarts.
torture soak:
	$(NEED) build check check-all
	$(MAKE) run-$@

run-torture: $(TESTED)
	CUTS=500 prove -Itests/lib --timer $(PROVEFLAGS) tests/faults/power.t

run-soak: $(TESTED)
	prove -Itests/lib --timer $(PROVEFLAGS) tests/soak/soak.t

run-nats: build/protocol-hook-nats build/nats-memory
run-consume run-kafka run-nats run-postgresql: run-%: $(TESTED)
	prove -Itests/lib --timer $(PROVEFLAGS) \
	    $(wildcard tests/integration/$*.t tests/integration/$*-*.t)

lint:
	$(NEED) build check lint
	$(MAKE) run-lint

# Never timed tests: what these print is for people.
BENCH = $(patsubst %,build/bench/%,load bare noop fill hello hello-static \
	spawn sandbox)

build/bench/%: bench/%.c bench/body.c bench/bench.h build/flags
	@mkdir -p build/bench
	$(COMPILE) -o $@ $< bench/body.c $(HOOK_LDFLAGS) $(LDFLAGS) $(HOOK_LIBS)

build/bench/sandbox: bench/sandbox.c build/sandbox.o build/util.o build/flags
	@mkdir -p build/bench
	$(COMPILE) -o $@ $(filter-out %flags,$^) $(HOOK_LDFLAGS) $(LDFLAGS)

build/bench/hello-static: bench/hello.c build/flags
	@mkdir -p build/bench
	$(CC) $(CFLAGS) -static-pie -o $@ $<

build/bench/hello: bench/hello.c build/flags
	@mkdir -p build/bench
	$(CC) $(CFLAGS) -o $@ $<

bench bench-cgi bench-instructions bench-scale:
	$(NEED) build bench valgrind
	$(MAKE) all $(BENCH)
	bench/$(if $(@:bench=),$(@:bench-%=%),run) $(if $(QUICK),quick)

# What begins as one; others have scripts in them.
SCRIPTS = $(shell git ls-files -z 2>/dev/null | xargs -0 awk \
	'FNR == 1 { if (/^.!(\/bin\/sh|.*bash)/) print FILENAME; nextfile }' \
	2>/dev/null)
# Left out: what -Wconversion says better, what is style, and two that take
# correct code for wrong (clang-tidy 14).
CHECKS = clang-analyzer-*,-clang-analyzer-valist.Uninitialized,$(\
	)-clang-analyzer-security.insecureAPI.*,bugprone-*,$(\
	)-bugprone-narrowing-conversions,-bugprone-branch-clone,$(\
	)-bugprone-implicit-widening-of-multiplication-result,$(\
	)-bugprone-easily-swappable-parameters,$(\
	)-bugprone-assignment-in-if-condition

lint_c = for cc in gcc clang; do for f in $(1); do \
	    $$cc $(HOOK_CPPFLAGS) $(2) -std=c11 $(WARNINGS) -Werror -O2 \
	    -fsyntax-only $$f || exit 1; done; done; \
	cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr \
	    --enable=warning,portability,performance \
	    --suppress=missingIncludeSystem -D_GNU_SOURCE -D__linux__ \
	    $(1) && \
	clang-tidy --quiet --warnings-as-errors='*' --checks='-*,$(CHECKS)' \
	    $(1) -- $(HOOK_CPPFLAGS) $(2) -std=c11 2>/dev/null

run-lint:
	$(call lint_c,$(SOURCES))
	if $(PKG_CONFIG) --exists libnats; then $(MAKE) run-lint-nats; fi
	cd man && mandoc -Tlint -Wstyle *.[1-9] ../examples/nats/*.8
	shellcheck $(SCRIPTS)
	for p in tests/plants/*.patch; do \
	    patch -s --dry-run -p1 < $$p || exit 1; done

run-lint-nats:
	$(call lint_c,$(NATS_SOURCES) $(wildcard \
	    tests/nats/*.c),$$($(PKG_CONFIG) --cflags $(NATS_LIBRARIES)))

# Made from usage, so that they know what the program knows.
build/completion.%: protocol-hook scripts/completion
	sh scripts/completion $* ./protocol-hook > $@

COMPLETION = build/completion.bash build/completion.zsh
UNITS = $(notdir $(wildcard examples/systemd/protocol-hook*))
CONFS = sysusers tmpfiles

install: all $(COMPLETION)
	install -d "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(BASHDIR)" \
	    "$(DESTDIR)$(ZSHDIR)"
	install -m 755 protocol-hook "$(DESTDIR)$(BINDIR)/protocol-hook"
	install -m 644 build/completion.bash \
	    "$(DESTDIR)$(BASHDIR)/protocol-hook"
	install -m 644 build/completion.zsh \
	    "$(DESTDIR)$(ZSHDIR)/_protocol-hook"
	for n in 1 5 8; do install -d "$(DESTDIR)$(MANDIR)/man$$n" && \
	    install -m 644 man/*.$$n "$(DESTDIR)$(MANDIR)/man$$n/" || exit 1; \
	done
	if [ -n "$(CGIDIR)" ]; then install -d "$(DESTDIR)$(CGIDIR)" && \
	    install -m 755 protocol-hook "$(DESTDIR)$(CGIDIR)/"; fi
	if [ -n "$(UNITDIR)" ]; then install -d "$(DESTDIR)$(UNITDIR)" && \
	    for f in $(UNITS); do sed 's,/usr/local/bin,$(BINDIR),' \
	    examples/systemd/$$f > "$(DESTDIR)$(UNITDIR)/$$f" && \
	    chmod 644 "$(DESTDIR)$(UNITDIR)/$$f" || exit 1; done && \
	    for d in $(CONFS); do \
	    install -d "$(DESTDIR)$(PREFIX)/lib/$$d.d" && \
	    install -m 644 examples/systemd/$$d.conf \
	    "$(DESTDIR)$(PREFIX)/lib/$$d.d/protocol-hook.conf" || exit 1; \
	    done; fi

# The spool and what is in it stay.
uninstall:
	rm -f "$(DESTDIR)$(BINDIR)/protocol-hook" \
	    "$(DESTDIR)$(BASHDIR)/protocol-hook" \
	    "$(DESTDIR)$(ZSHDIR)/_protocol-hook"
	cd man && for f in *.[158]; do \
	    rm -f "$(DESTDIR)$(MANDIR)/man$${f##*.}/$$f"; done
	if [ -n "$(CGIDIR)" ]; then \
	    rm -f "$(DESTDIR)$(CGIDIR)/protocol-hook"; fi
	if [ -n "$(UNITDIR)" ]; then \
	    for f in $(UNITS); do rm -f "$(DESTDIR)$(UNITDIR)/$$f"; done; \
	    for d in $(CONFS); do \
	    rm -f "$(DESTDIR)$(PREFIX)/lib/$$d.d/protocol-hook.conf"; \
	    done; fi

# The forwarder to a JetStream stream: needs libnats besides.
NATS_LIBRARIES = libnats nettle json-c
NATS_COMPILE = $(COMPILE) $$($(PKG_CONFIG) --cflags $(NATS_LIBRARIES))

nats: have-nats build/protocol-hook-nats

NATS_SOURCES = $(wildcard examples/nats/*.c)

build/protocol-hook-nats: $(NATS_SOURCES) examples/nats/missing.h build/flags
	$(NATS_COMPILE) -o $@ $(NATS_SOURCES) $(HOOK_LDFLAGS) $(LDFLAGS) \
	    $$($(PKG_CONFIG) --libs $(NATS_LIBRARIES))

build/nats-memory: tests/nats/memory.c build/flags
	$(NATS_COMPILE) -o $@ $< $(HOOK_LDFLAGS) $(LDFLAGS) \
	    $$($(PKG_CONFIG) --libs $(NATS_LIBRARIES))

clean:
	rm -rf build protocol-hook

# The same bytes for the same commit, wherever and whenever it is made, also from
# the archive itself.
DIST = protocol-hook-$(VERSION)

dist: build/$(DIST).tar.gz
	@echo $<

build/$(DIST).tar.gz: FORCE
	@mkdir -p build
	perl scripts/source $(DIST) > build/$(DIST).tar
	gzip -9n < build/$(DIST).tar > $@

# Before a tag is made, and for whoever has one: all places agree.
check-release:
	@sh scripts/check-release $(VERSION)

# The source as upstream's archive without debian/, and that beside it.
deb:
	$(NEED) build deb
	rm -rf build/deb
	mkdir -p build/deb
	perl scripts/source $(DIST) debian > build/deb/orig.tar
	gzip -9n < build/deb/orig.tar \
	    > build/deb/protocol-hook_$(VERSION).orig.tar.gz
	perl scripts/source $(DIST) > build/deb/all.tar
	tar -xf build/deb/all.tar -C build/deb
	rm build/deb/*.tar
	cd build/deb/$(DIST) && dpkg-buildpackage -us -uc
	lintian --fail-on error,warning build/deb/*.changes
	@ls build/deb/*.deb

rpm: build/$(DIST).tar.gz
	$(NEED) build rpm
	rm -rf build/rpm
	mkdir -p build/rpm/SOURCES
	cp $< build/rpm/SOURCES/
	rpmbuild -bb --nodeps --define '_topdir $(CURDIR)/build/rpm' \
	    examples/rpm/protocol-hook.spec
	@ls build/rpm/RPMS/*/*.rpm
