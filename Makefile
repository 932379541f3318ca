# SPDX-License-Identifier: LGPL-2.1-or-later
# The last release, as NEWS.md has it; with a "+" if there is something new since.
VERSION := $(shell awk '/^.. Unreleased$$/ { more = "+" } /^.. [0-9.]+$$/ { print $$2 more; exit }' NEWS.md)
PREFIX ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
MANDIR ?= $(PREFIX)/share/man
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
BUILD ?= build
PKG_CONFIG ?= pkg-config
CFLAGS ?= -O2 -g
# Each function of a library is looked up once: else each worker, a fork, does it anew.
override LDFLAGS += -Wl,-z,now
LIBRARIES := libkmod libmnl libudev smartcols
override CFLAGS += -std=gnu17 -Wall -Wextra
override CPPFLAGS += -D_GNU_SOURCE -DVERSION='"$(VERSION)"'
LDLIBS = $(shell $(PKG_CONFIG) --libs $(LIBRARIES))

SOURCES := vfio-bind.c $(wildcard lib/*.c)
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tools/%,$(wildcard tests/tools/*.c))
UNITS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/*.c))

all: $(BUILD)/vfio-bind

$(BUILD)/vfio-bind: $(OBJECTS)
	$(LINK.c) -o $@ $^ $(LDLIBS)

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(COMPILE.c) -MMD -MP -o $@ $<

# Programs that the tests need: a VFIO user, a killer...
tools: $(TOOLS)

$(BUILD)/tools/%: tests/tools/%.c Makefile
	@mkdir -p $(@D)
	$(LINK.c) -o $@ $<

# Tests of functions; and what tests of the program run in its place (tests/server.c).
unit: $(UNITS) $(BUILD)/vfio-bind-server

$(BUILD)/vfio-bind-server: $(BUILD)/tests/server.o $(OBJECTS)
	$(LINK.c) -Wl,--wrap=main -o $@ $^ $(LDLIBS)

# Each __wrap_NAME() of a unit test takes the place of lib/'s NAME().
wraps = $(shell grep -o '\b__wrap_[a-z_]*' $(1) | sort -u | sed 's/__wrap_/-Wl,--wrap=/')

$(UNITS): $(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $(filter $(BUILD)/lib/%,$(OBJECTS))
	@mkdir -p $(@D)
	$(LINK.c) $(call wraps,tests/unit/$*.c) -o $@ $^ $(LDLIBS)

$(BUILD)/vfio-bind.o: NEWS.md # for VERSION

-include $(OBJECTS:.o=.d) $(UNITS:$(BUILD)/%=$(BUILD)/tests/%.d) $(BUILD)/tests/server.d

check:
	tests/check

# Real boots of Debian 12 and 13, with pins.
check-boot:
	@echo "This takes about 20 minutes on two processors; the first time 10 more, and 3 GB of disk."
	tests/boot/check

# Every call of the kernel fails, a signal comes at every call, hundreds of rounds, a soak of
# ten minutes. FAULTS=N: at every Nth call.
check-faults:
	@echo "This takes about ten hours on two processors; with FAULTS=25 less than one."
	FAULTS=$(or $(FAULTS),all) tests/check

check-fast:
	tests/fast $(BUILD)

sanitize:
	$(MAKE) check-fast BUILD=$(BUILD)/sanitized \
		CFLAGS="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"

# LANES=all: of the emulated machines, too. V=1: each line that is never executed.
coverage:
	V=$(V) tests/coverage/run $(LANES)

demo:
	tests/board/demo

bench:
	tests/board/bench
	tests/pc/bench

lint:
	tests/lint

install: all
	install -D $(BUILD)/vfio-bind $(DESTDIR)$(SBINDIR)/vfio-bind
	install -D -m 644 man/vfio-bind.8 $(DESTDIR)$(MANDIR)/man8/vfio-bind.8
	install -D -m 644 completion/vfio-bind $(DESTDIR)$(BASHDIR)/vfio-bind
	install -D -m 644 completion/_vfio-bind $(DESTDIR)$(ZSHDIR)/_vfio-bind
	install -D -m 644 completion/vfio-bind.fish $(DESTDIR)$(FISHDIR)/vfio-bind.fish

uninstall:
	rm -f $(DESTDIR)$(SBINDIR)/vfio-bind $(DESTDIR)$(MANDIR)/man8/vfio-bind.8 \
		$(DESTDIR)$(BASHDIR)/vfio-bind $(DESTDIR)$(ZSHDIR)/_vfio-bind \
		$(DESTDIR)$(FISHDIR)/vfio-bind.fish

# What is committed, as a release.
dist:
	@mkdir -p $(BUILD)
	git archive --prefix=vfio-bind-$(VERSION)/ -o $(BUILD)/vfio-bind-$(VERSION).tar.gz HEAD

# A Debian package of the tree, for the release of Debian that it is built on: in $(BUILD)/deb.
deb:
	tests/packages -b build-essential debhelper
	debian/build $(BUILD)/deb $(VERSION)

check-package:
	tests/package/run

clean:
	rm -rf $(BUILD)

.PHONY: all tools unit check check-boot check-faults check-fast check-package sanitize coverage demo bench \
	lint install uninstall dist deb clean
