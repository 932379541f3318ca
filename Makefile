# SPDX-License-Identifier: LGPL-2.1-or-later
VERSION := 0.1
PREFIX ?= /usr/local
BUILD ?= build
CFLAGS ?= -O2 -g
override CFLAGS += -std=gnu17 -Wall -Wextra
override CPPFLAGS += -D_GNU_SOURCE -DVERSION='"$(VERSION)"'
override LDLIBS += -lkmod -ludev -lsmartcols

SOURCES := vfio-bind.c $(wildcard lib/*.c)
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)

all: $(BUILD)/vfio-bind

$(BUILD)/vfio-bind: $(OBJECTS)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(OBJECTS:.o=.d)

clean:
	rm -rf $(BUILD)

.PHONY: all clean
