# Tests; the root Makefile includes this.

.PHONY: have-nats tested check-consume check-kafka check-nats \
	check-postgresql check-asan check-port coverage servers-matrix torture \
	torture-nats soak fuzz nats lint run-lint-nats

# All but main, for unit tests and fuzz targets.
MODULES = $(filter-out build/protocol-hook.o,$(OBJECTS))
# Sources that read the clock.
CLOCKED = fastcgi.c cgi.c log.c util.c $(wildcard spool/*.c commands/*.c)

PROVE = prove -Itests/lib --timer $(PROVEFLAGS)

# $(call variant,SOURCES,FLAGS): the program, with SOURCES compiled with FLAGS.
variant = @mkdir -p $(@D) && $(COMPILE) $(2) -o $@ $(1) $(filter-out \
	$(1:%.c=build/%.o),$(OBJECTS)) $(HOOK_LDFLAGS) $(LDFLAGS) $(HOOK_LIBS)

# Requests time out after a second.
build/quick/protocol-hook: $(OBJECTS)
	$(call variant,connections.c cgi.c,-DREQUEST_SECONDS=1)

# Dumpable, so that an ordinary user can trace it and read its /proc files.
build/dumpable/protocol-hook: $(OBJECTS) tests/dumpable/dumpable.h
	$(call variant,sandbox.c,-include tests/dumpable/dumpable.h)

# Without inotify.
build/poll/protocol-hook: $(OBJECTS)
	$(call variant,commands/watch.c,-DWATCH_POLL)

# Looks for the unit's files below root/ in the current directory.
build/root/protocol-hook: $(OBJECTS)
	$(call variant,commands/service.c,-DROOTDIR='"root"')

# With a clock that is CLOCK_SHIFT seconds ahead.
build/clock/protocol-hook: $(OBJECTS) tests/clock/shift.c tests/clock/shift.h
	$(call variant,$(CLOCKED) tests/clock/shift.c,-include \
	    tests/clock/shift.h)

# A preloaded library that makes calls fail.
build/shim.so: tests/faults/shim.c build/flags
	$(CC) -std=c11 -D_GNU_SOURCE -O1 -g -fPIC -fno-builtin -shared -o $@ $< -ldl

build/unit-%: tests/unit/%.c $(MODULES)
	$(COMPILE) -o $@ $< $(MODULES) $(HOOK_LDFLAGS) $(LDFLAGS) \
	    $(HOOK_LIBS) $$($(PKG_CONFIG) --cflags --libs cmocka)

# To be run under valgrind.
build/constant-time: tests/constant-time.c build/verify.o build/util.o
	$(COMPILE) -o $@ $^ $(HOOK_LDFLAGS) $(LDFLAGS) $(HOOK_LIBS)

# The core tests with sanitizers, in a copy.  LeakSanitizer needs ptrace, which
# the sandbox forbids; tests/integration/leaks.t looks for leaks instead.
SANITIZE = -O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all \
	-fsanitize=address,undefined

check-asan:
	$(NEED) build check
	sh scripts/copy build/asan
	ASAN_OPTIONS=detect_leaks=0 $(MAKE) -C build/asan run-core-asan

all-asan run-core-asan: %-asan:
	$(MAKE) CFLAGS='$(SANITIZE)' CPPFLAGS=-U_FORTIFY_SOURCE $*

COVERAGE = CC=gcc CFLAGS='-O0 -g --coverage -fprofile-update=atomic' \
	LDFLAGS=tests/gcov-exit.c
COVERAGE_TESTS = $(CORE_TESTS) $(addprefix tests/faults/,alloc.t cgi.t \
	commands.t disks.t entry-points.t threads.t)

## make coverage	lines and branches that the tests execute, by gcov
coverage:
	$(NEED) build check
	rm -rf build/coverage
	sh scripts/copy build/coverage
	$(MAKE) -C build/coverage $(COVERAGE) run-coverage

run-coverage: $(TESTED)
	$(PROVE) $(COVERAGE_TESTS); r=$$?; \
	    perl scripts/coverage $(SOURCES) && exit $$r

# Fuzz targets for libFuzzer; their corpora grow in build/corpus.
FUZZ_TARGETS = $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
FUZZ_COMPILE = clang $(HOOK_CPPFLAGS) -std=c11 $(WARNINGS) -g -O1 \
	-fno-omit-frame-pointer -fno-sanitize-recover=all
SECONDS = 60

build/fuzz/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(FUZZ_COMPILE) -MMD -MP -fsanitize=fuzzer-no-link,address,undefined \
	    -c -o $@ $<

build/fuzz/%: tests/fuzz/%.c $(wildcard tests/fuzz/*.h) $(MODULES:build/%=build/fuzz/%)
	$(FUZZ_COMPILE) -fsanitize=fuzzer,address,undefined -o $@ $(WRAP) \
	    $(filter %.c %.o,$^) $(HOOK_LIBS)

.PRECIOUS: build/fuzz/%.o

-include $(MODULES:build/%.o=build/fuzz/%.d)

build/fuzz/read: tests/fuzz/strict/read.c $(addprefix build/fuzz/,json.o \
    events.o)
	$(FUZZ_COMPILE) -fsanitize=address,undefined -o $@ $^ $(HOOK_LIBS)

FUZZ_BUILT = $(FUZZ_TARGETS:%=build/fuzz/%) build/fuzz/read

# The fuzz targets without the fuzzer, which run their corpora only.
build/seeds/%-seeds: tests/fuzz/%.c tests/fuzz/seeds/main.c $(MODULES)
	@mkdir -p build/seeds
	$(COMPILE) -o $@ $(WRAP) $^ $(HOOK_LDFLAGS) $(LDFLAGS) $(HOOK_LIBS)

# tests/fuzz/fastcgi.c decides which signatures are right.
build/fuzz/fastcgi build/seeds/fastcgi-seeds: WRAP = -Wl,--wrap=keys_verify

SEEDED = $(FUZZ_TARGETS:%=build/seeds/%-seeds)

## make fuzz		each fuzz target, for SECONDS=60
fuzz:
	$(NEED) build fuzz
	$(MAKE) $(FUZZ_BUILT)
	for t in $(FUZZ_TARGETS); do \
	    sh tests/fuzz/run $$t $(SECONDS) || exit 1; done

## make servers-matrix	every web server; writes docs/servers.md
servers-matrix:
	$(NEED) build check check-all
	$(MAKE) all
	-$(PROVE) $(filter-out %/matrix.t,$(wildcard tests/servers/*.t))
	perl -Itests/lib -MServers::Matrix -e write_page

## make check-port	other compilers, C libraries, machines and systems, or
##			those in PORT; writes docs/portability.md
check-port:
	$(NEED) build check port
	perl tests/port/run $(PORT)

## make check-consume, check-kafka, check-nats, check-postgresql
check-consume check-kafka check-nats check-postgresql: check-%:
	$(NEED) build check $*
	$(MAKE) run-$*

## make torture-nats	100,000 deliveries through the whole chain, with kills
torture-nats:
	$(NEED) build check nats
	DELIVERIES=100000 $(MAKE) run-nats

UNIT_TESTS = $(patsubst tests/unit/%.c,build/unit-%,$(wildcard tests/unit/*.c))
CORE_TESTS = tests/unit.t $(sort $(wildcard tests/core/*.t))
ALL_TESTS = $(CORE_TESTS) $(sort $(wildcard tests/servers/*.t \
	tests/faults/*.t tests/integration/*.t))

TESTED = all $(UNIT_TESTS) $(SEEDED) build/shim.so \
	$(addprefix build/,$(addsuffix /protocol-hook,quick dumpable poll \
	root clock))

tested: $(TESTED)

run-core: $(TESTED)
	$(PROVE) $(CORE_TESTS)

run-all: $(TESTED) $(FUZZ_BUILT) build/protocol-hook-nats build/nats-memory
	$(PROVE) $(ALL_TESTS)

## make torture		500 power cuts, half an hour
## make soak		a million deliveries with restarts
torture soak:
	$(NEED) build check check-all
	$(MAKE) run-$@

run-torture: $(TESTED)
	CUTS=500 $(PROVE) tests/faults/power.t

run-soak: $(TESTED)
	$(PROVE) tests/soak/soak.t

run-nats: build/protocol-hook-nats build/nats-memory
run-consume run-kafka run-nats run-postgresql: run-%: $(TESTED)
	$(PROVE) $(wildcard tests/integration/$*.t tests/integration/$*-*.t)

## make lint		compilers, cppcheck, clang-tidy, mandoc, shellcheck
lint:
	$(NEED) build check lint
	$(MAKE) run-lint

# Shell scripts, known by their first line.
SCRIPTS = $(shell git ls-files -z 2>/dev/null | xargs -0 awk \
	'FNR == 1 { if (/^.!(\/bin\/sh|.*bash)/) print FILENAME; nextfile }' \
	2>/dev/null)
# Left out: what -Wconversion says better, what is style, and two with false
# positives (clang-tidy 14).
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
	for p in tests/mutations/*.patch; do \
	    patch -s --dry-run -p1 < $$p || exit 1; done

run-lint-nats:
	$(call lint_c,$(NATS_SOURCES) $(wildcard \
	    tests/nats/*.c),$$($(PKG_CONFIG) --cflags $(NATS_LIBRARIES)))

# The forwarder to a JetStream stream, which needs libnats.
NATS_LIBRARIES = libnats nettle json-c
NATS_COMPILE = $(COMPILE) $$($(PKG_CONFIG) --cflags $(NATS_LIBRARIES))

## make nats		the forwarder to JetStream
nats: have-nats build/protocol-hook-nats

NATS_SOURCES = $(wildcard examples/nats/*.c)

build/protocol-hook-nats: $(NATS_SOURCES) examples/nats/missing.h build/flags
	$(NATS_COMPILE) -o $@ $(NATS_SOURCES) $(HOOK_LDFLAGS) $(LDFLAGS) \
	    $$($(PKG_CONFIG) --libs $(NATS_LIBRARIES))

build/nats-memory: tests/nats/memory.c build/flags
	$(NATS_COMPILE) -o $@ $< $(HOOK_LDFLAGS) $(LDFLAGS) \
	    $$($(PKG_CONFIG) --libs $(NATS_LIBRARIES))

have-nats:
	@CC='$(CC)' PKG_CONFIG='$(PKG_CONFIG)' \
	    sh scripts/have $(OLDEST) libnats
