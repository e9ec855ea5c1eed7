# Benchmarks, for people: none of them is a test.  The root Makefile includes
# this.

.PHONY: bench bench-cgi bench-instructions bench-scale

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

## make bench, bench-cgi, bench-instructions, bench-scale	QUICK=1 is shorter
bench bench-cgi bench-instructions bench-scale:
	$(NEED) build bench valgrind
	$(MAKE) all $(BENCH)
	bench/$(if $(@:bench=),$(@:bench-%=%),run) $(if $(QUICK),quick)
