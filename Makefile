# A thin layer over Meson and ninja: `make help` lists what there is.

BUILD ?= build
# Debian's own first, as another Python's meson may come earlier in PATH.
MESON := $(firstword $(wildcard /usr/bin/meson) meson)
NINJA ?= ninja

.DELETE_ON_ERROR:

all: $(BUILD)/build.ninja ## build $(BUILD)/sluice (the default)
	@$(NINJA) -C $(BUILD)

$(BUILD)/build.ninja:
	@$(MESON) setup $(BUILD) -Dwerror=true

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r t text; do \
		printf '%-9s %s\n' "$$t" "$$text"; done

deps: ## install the Debian packages that are missing, after saying which
	@tools/deps.sh build test

# The relay without its tests.
relay: $(BUILD)/build.ninja
	@$(NINJA) -C $(BUILD) sluice

# The steps that install come first and alone, whatever -j says: the rest needs them.
run: ## a relay on localhost, and how to use it (PORT=4443, HOST=127.0.0.1)
	@tools/deps.sh build
	@$(MAKE) --no-print-directory relay
	@tools/run.sh $(BUILD)/sluice

demo: ## the same with clients that talk, and the flow table
	@tools/deps.sh build
	@$(MAKE) --no-print-directory relay
	@tools/demo.sh $(BUILD)/sluice

check: ## all tests: plain, ASan and UBSan, a subset under TSan and with other engines for TLS
	@tools/deps.sh build test
	@tests/check.sh plain engines asan tsan-subset

asan: ## all tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@tools/deps.sh build test
	@tests/check.sh asan

tsan: ## all tests under ThreadSanitizer
	@tools/deps.sh build test
	@tests/check.sh tsan

bench: all ## the same work for derper and sluice, alternating (ten minutes; BENCH_ARGS=)
	@tests/bench/compare $(BENCH_ARGS)

bench-all: all ## every case, nine rounds, with one worker and with all (hours)
	@tests/bench/compare --all --json $(BUILD)/bench.json $(BENCH_ARGS)

profile: all ## where the cycles of a packet go (PROFILE_ARGS=)
	@tests/bench/profile $(PROFILE_ARGS)

fuzz: ## look for inputs that break a parser (FUZZ_SECONDS=30 each)
	@tools/deps.sh build dev
	@tests/fuzz/run.sh

fmt: ## format the C sources
	@tools/deps.sh dev
	@find src tests -name '*.[ch]' -exec clang-format -i {} +

tidy: ## clang-tidy over src/
	@tools/deps.sh build dev
	@$(MAKE) --no-print-directory $(BUILD)/build.ninja
	@run-clang-tidy -quiet -p $(BUILD) "$(CURDIR)/src/.*\.c$$"

install: all ## install below DESTDIR
	@$(MESON) install -C $(BUILD) --no-rebuild

clean: ## remove the build directories
	@rm -rf $(BUILD) build-asan build-tsan build-fuzz build-libcrypto

.PHONY: all help deps relay run demo check asan tsan bench bench-all profile fuzz fmt tidy install clean
