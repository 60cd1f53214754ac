# SPDX-License-Identifier: GPL-2.0
# What a person types. Every product and every download is under build/.
#   KVER    kernel to build for: installed here (default: the running one), or a Debian version: ci/kernels.sh list
BUILD	:= $(CURDIR)/build
KVER	?= $(shell uname -r)
PREFIX	?= /usr
DESTDIR	?=
CI_CFLAGS := -O2 -g -std=gnu11 -Wall -Wextra -Werror -Wno-format-truncation

export KUP_BUILD := $(BUILD)

all: module command policies

help:
	@echo 'Targets (R: needs root, G: boots a guest under QEMU)'
	@echo '  all              module, command and policies, for the running kernel or KVER= (default)'
	@echo '  module           build/module/$$KVER/kup_ppp.ko'
	@echo '  modules-all R    the module for every kernel of the archive, in a table; build/modules.json (takes long).'
	@echo '                   SERIES="6.18 7.2" only these; NEWEST=1 one kernel a series'
	@echo '  command          build/kup-ppp, with the boot stub inside'
	@echo '  policies         build/bpf/*.bpf.o: what `kup-ppp watch` takes for a failure'
	@echo '  install     R    module, command, policies, man page and restore service, for KVER=; DESTDIR= for a package'
	@echo '  deps        R    install what building and testing need (Debian 12); the other targets call it'
	@echo '  demo        R G  memcached with 1 GB goes from Debian 6.1 to 6.12; build/demo.json'
	@echo '  check       R G  all tests; build/check.json. TESTS="abort flat" runs only these'
	@echo '  fuzz        R    the parsers, RUNS= (10,000,000) inputs for each target; build/fuzz.json. Takes long; TARGETS="elf btf" only these'
	@echo '  check-debug R G  the module on debug kernels built from Debian sources (takes long)'
	@echo '  check-faults R G a fault before and after each step of a switch; build/faults.json (takes long); FAULTS="*:dump:*" only these'
	@echo '  soak        R G  N= (200) switches in one guest'\''s life, FROM= and TO= in turn; no byte, no memory lost; build/soak.json (takes long)'
	@echo '  scenario    R G  one run of any scenario: ARGS="--scenario DIR --from 6.1 --to 6.12"; ci/scenario --help'
	@echo '  resources   R G  what a process owns, one thing a line: kept, refused, or beyond CRIU; build/resources.json'
	@echo '  zdtm        R G  CRIU'\''s own suite: what CRIU passes by itself has to pass through a switch; build/zdtm.json. Takes long;'
	@echo '                   TESTS="static/pipe00 transition/*" only these; FROM= TO= BATCH= CRIU=: ci/zdtm.sh'
	@echo '  programs    R G  real programs through a switch and back; build/programs.json. PROGRAMS="redis eight" only these'
	@echo '  matrix      R G  memcached across all kernels of the archive, both ways; build/matrix.json. Takes long, goes on where it was;'
	@echo '                   FROM= TO= SERIES= KIND= FLAVOURS= choose: ci/matrix.sh'
	@echo '  bench       R G  how fast it is, against goals; build/bench.json, build/bench.svg. Takes long; ROWS="jump gap" measures only'
	@echo '                   these, KERNELS="6.12 7.3" on others: ci/bench.sh'
	@echo '  clean            remove products; distclean: downloads as well'

deps:
	@ci/deps.sh

bootstub: deps
	@$(MAKE) -C bootstub BUILD=$(BUILD)

command: bootstub
	@$(MAKE) -C userspace BUILD=$(BUILD)

policies: deps
	@$(MAKE) -s -C bpf BUILD=$(BUILD)

# Headers: installed with the kernel, or fetched for it. A farm of links keeps the source tree clean and lets builds
# for several kernels go on at once.
module: module-$(KVER)

module-%: deps
	@ci/module.sh $*

modules-all: deps
	@ci/modules.sh $(if $(NEWEST),--newest) $(if $(filter command environment,$(origin SERIES)),$(SERIES))

install: all
	@ci/install.sh '$(KVER)' '$(DESTDIR)' '$(PREFIX)'

# --- test bed ---

BED_SRCS := $(wildcard ci/bed/*.c)
INIT_SRCS := ci/guest/init.c ci/guest/setup.c ci/guest/agent.c

$(BUILD)/ci/bed: $(BED_SRCS) ci/bed/bed.h ci/guest/guest.h | deps
	@mkdir -p $(@D)
	$(CC) $(CI_CFLAGS) -o $@ $(BED_SRCS) -ljson-c

$(BUILD)/ci/init: $(INIT_SRCS) ci/guest/init.h ci/guest/guest.h | deps
	@mkdir -p $(@D)
	$(CC) $(CI_CFLAGS) -static -s -o $@ $(INIT_SRCS)

$(BUILD)/ci/%: ci/client/%.c ci/client/client.h | deps
	@mkdir -p $(@D)
	$(CC) $(CI_CFLAGS) -o $@ $<

$(BUILD)/ci/bench_table: ci/bench/table.c | deps
	@mkdir -p $(@D)
	$(CC) $(CI_CFLAGS) -o $@ $< -ljson-c

# All that a guest and its bed are made of, for the kernels in KVERS=; bed-parts is what does not depend on kup-ppp.
bed-parts: $(addprefix $(BUILD)/ci/,bed init memcached_client memcached_load forked_client redis_client postgres_client mariadb_client webstack_client resources_client accept_client)
guest-parts: bed-parts command policies $(addprefix module-,$(KVERS))

scenario: deps
	@ci/scenario $(ARGS)

demo: deps
	@ci/demo.sh

check: deps
	@ci/check.sh $(TESTS)

fuzz: deps
	@ci/fuzz.sh $(TARGETS)

resources: deps
	@ci/resources.sh

zdtm: deps
	@FROM='$(FROM)' TO='$(TO)' BATCH='$(BATCH)' CRIU='$(CRIU)' ci/zdtm.sh $(foreach t,$(TESTS),'$(t)')

programs: deps
	@ci/programs.sh $(PROGRAMS)

matrix: deps
	@FROM='$(FROM)' TO='$(TO)' SERIES='$(SERIES)' KIND='$(KIND)' ci/matrix.sh

bench: deps
	@ROWS='$(ROWS)' ci/bench.sh

check-debug: deps
	@ci/deps.sh debug
	@$(MAKE) -C ci/debug BUILD=$(BUILD) check

soak: deps
	@ci/soak.sh

check-faults: deps
	@ci/faults.sh $(FAULTS)

clean:
	rm -rf $(BUILD)/module $(BUILD)/userspace $(BUILD)/bootstub $(BUILD)/bootstub.o $(BUILD)/bpf $(BUILD)/kup-ppp $(BUILD)/tests \
		$(BUILD)/ci $(BUILD)/runs $(BUILD)/*.json

distclean:
	rm -rf $(BUILD)

.PHONY: all help deps bootstub command policies module modules-all install bed-parts guest-parts scenario demo check fuzz matrix bench check-debug check-faults soak resources zdtm programs clean distclean
