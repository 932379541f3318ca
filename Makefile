# SPDX-License-Identifier: LGPL-2.1-or-later
VERSION := 0.1
PREFIX ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
MANDIR ?= $(PREFIX)/share/man
COMPLETIONDIR ?= $(PREFIX)/share/bash-completion/completions
BUILD ?= build
CFLAGS ?= -O2 -g
override CFLAGS += -std=gnu17 -Wall -Wextra
override CPPFLAGS += -D_GNU_SOURCE -DVERSION='"$(VERSION)"'

SOURCES := vfio-bind.c $(wildcard lib/*.c)
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tools/%,$(wildcard tests/tools/*.c))

all: $(BUILD)/vfio-bind

$(BUILD)/vfio-bind: $(OBJECTS)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lkmod -ludev -lsmartcols

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# Programs that the tests need: a VFIO user, a killer...
tools: $(TOOLS)

$(BUILD)/tools/%: tests/tools/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -o $@ $<

-include $(OBJECTS:.o=.d)

check:
	tests/check

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
	install -D -m 644 completion/vfio-bind $(DESTDIR)$(COMPLETIONDIR)/vfio-bind

clean:
	rm -rf $(BUILD)

.PHONY: all tools check demo bench lint install clean
