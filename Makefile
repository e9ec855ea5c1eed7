# protocol-hook: see README.md; "make help" lists the targets.
#
# Knobs, on the command line or exported:
CC ?= cc
CFLAGS ?= -O2 -g
LDFLAGS ?=
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
# If set, the systemd units and the CGI program are installed there.
UNITDIR ?=
CGIDIR ?=
SPOOLDIR ?= /var/spool/protocol-hook
PKG_CONFIG ?= pkg-config
# If set, the program is linked statically.
STATIC ?=
DESTDIR ?=

VERSION := 0.1.0
LIBRARIES = fcgi nettle json-c
# The oldest versions that were tried.
OLDEST = 'fcgi >= 2.4.2' 'nettle >= 3.4' 'json-c >= 0.15'
# The root has the request path, in the order in which a request passes it.
SOURCES = protocol-hook.c config.c cgi.c fastcgi.c connections.c \
	connection.c fcgi_records.c fcgi_values.c peers.c request.c verify.c \
	events.c json.c reply.c log.c text.c sandbox.c signals.c util.c \
	$(sort $(wildcard spool/*.c)) $(sort $(wildcard commands/*.c))
OBJECTS = $(SOURCES:%.c=build/%.o)

WARNINGS = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wconversion -Wpedantic
# $(call has,FLAG): FLAG, if the compiler supports it.
has = $(shell $(CC) -Werror $(1) -O2 -c -x c -o /dev/null /dev/null \
	2>/dev/null && echo $(1))
HARDEN := $(call has,-fstack-protector-strong) \
	$(call has,-fstack-clash-protection) \
	$(call has,-ftrivial-auto-var-init=zero) -fPIE
# FORTIFY needs optimization, and distributions set their own.
FORTIFY := $(if $(findstring FORTIFY,$(CFLAGS) $(CPPFLAGS)),,$(if \
	$(filter -O1 -O2 -O3 -Os -Og,$(CFLAGS)),$(call \
	has,-D_FORTIFY_SOURCE=3)))

static = $(if $(STATIC),--static)
HOOK_CPPFLAGS = -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 \
	-DVERSION='"$(VERSION)"' -DSPOOLDIR='"$(SPOOLDIR)"' -I. \
	$(STATIC:%=-DSTATIC) $(shell $(PKG_CONFIG) $(static) --cflags $(LIBRARIES))
# Builds in different directories are the same.  PWD may name a symbolic link.
export PWD := $(CURDIR)
MAPPED := $(if $(call has,-fdebug-prefix-map=/x=.),\
	-fdebug-prefix-map='$(CURDIR)=.')
HOOK_CFLAGS = -std=c11 $(WARNINGS) $(HARDEN) $(FORTIFY) $(MAPPED) -pthread
# $(call links,FLAG): FLAG, if the linker supports it; macOS's does not.
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

.PHONY: all help have demo serve check check-all install uninstall clean dist \
	check-release deb rpm
.DELETE_ON_ERROR:

all: protocol-hook

protocol-hook: $(OBJECTS)
	$(LINK) -o $@ $(OBJECTS) $(HOOK_LIBS)

build/%.o: %.c Makefile build/flags
	@mkdir -p $(@D)
	$(COMPILE) -MMD -MP -c -o $@ $<

-include $(OBJECTS:.o=.d)

# Names everything that is missing at once, before flags are asked for.
have:
	@CC='$(CC)' PKG_CONFIG='$(PKG_CONFIG)' sh scripts/have $(OLDEST)

# Changes when the flags do, so that everything is built anew.
build/flags: FORCE | have
	@mkdir -p build
	@echo '$(COMPILE) $(LINK)' | cmp -s - $@ || \
	    echo '$(COMPILE) $(LINK)' > $@
FORCE:

help:
	@sed -n 's/^## *//p' Makefile tests/tests.mk bench/bench.mk

# These install what is missing, with NEED, and call make again, which then
# finds what was installed.
## make demo		deliver an event through a web server, and show all
## make serve		the same server, until Ctrl-C
demo serve:
	$(NEED) build demo
	$(MAKE) -s all
	sh examples/demo $@

## make check		the core tests, in about a minute
check:
	$(NEED) build check
	$(MAKE) run-core

## make check-all	every test
check-all:
	$(NEED) build check check-all fuzz valgrind consume nats kafka \
	    postgresql
	$(MAKE) run-all
	$(MAKE) check-asan

## make install		PREFIX=/usr/local, DESTDIR, UNITDIR, CGIDIR: see Makefile
## make uninstall	with the same variables
# Made from the usage messages.
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

# Leaves the spool alone.
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

clean:
	rm -rf build protocol-hook

# Reproducible, also when it is made from the archive itself.
DIST = protocol-hook-$(VERSION)

## make dist		the source archive, build/protocol-hook-VERSION.tar.gz
dist: build/$(DIST).tar.gz
	@echo $<

build/$(DIST).tar.gz: FORCE
	@mkdir -p build
	perl scripts/source $(DIST) > build/$(DIST).tar
	gzip -9n < build/$(DIST).tar > $@

# Checks that all places name the same version.
check-release:
	@sh scripts/check-release $(VERSION)

# The source package: an archive without debian/, and debian/ beside it.
## make deb		the Debian package, in build/deb
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

## make rpm		the RPM package, in build/rpm
rpm: build/$(DIST).tar.gz
	$(NEED) build rpm
	rm -rf build/rpm
	mkdir -p build/rpm/SOURCES
	cp $< build/rpm/SOURCES/
	rpmbuild -bb --nodeps --define '_topdir $(CURDIR)/build/rpm' \
	    examples/rpm/protocol-hook.spec
	@ls build/rpm/RPMS/*/*.rpm

include tests/tests.mk
include bench/bench.mk
