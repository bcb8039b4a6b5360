# What people type. Meson and Ninja do the building, the scripts in script/ the rest.

LISTEN ?= 127.0.0.1:8080
FUZZ_SECONDS ?= 60
SEEDS ?= 100000
FIRST_SEED ?= 1
export LISTEN FUZZ_SECONDS

help:
	@echo 'make run      install what is missing, build, start orrery on $(LISTEN) with the sample models'
	@echo 'make test     install what is missing, run every test (script/test STAGE runs one stage)'
	@echo 'make build    leave the program in build/orrery'
	@echo 'make soak     build, kill and stop the daemon CYCLES times under load ($(CYCLES)), count every slot'
	@echo 'make bench    build for speed and run the benchmarks'
	@echo 'make simulate run the scheduler through SEEDS ($(SEEDS)) simulated histories, from FIRST_SEED ($(FIRST_SEED))'
	@echo 'make coverage how much of src/cron, src/schedule and src/store the unit tests go through'
	@echo 'make lint     formatting, static analysis, file lengths'
	@echo 'make format   format the C files in place'
	@echo 'make fuzz     run each fuzz target for FUZZ_SECONDS ($(FUZZ_SECONDS))'
	@echo 'make install  install under PREFIX (/usr/local), within DESTDIR'
	@echo 'make clean    remove what was built (deps/ and data/ stay)'

setup:
	@script/setup

build: setup
	@test -e build/build.ninja || CC=$${CC:-gcc} meson setup build --buildtype=debugoptimized
	@ninja -C build

run: build
	@exec script/run

test: setup
	@exec script/test

soak: build
	@exec script/soak --cycles $(CYCLES)

bench:
	@script/setup bench
	@test -e build-release/build.ninja || \
	    CC=$${CC:-gcc} meson setup build-release --buildtype=release -Dbench=true
	@ninja -C build-release
	@exec script/bench

simulate: build
	@build/tests/unit/schedule_test_simulation $(FIRST_SEED) $(SEEDS)

coverage:
	@script/setup coverage
	@exec script/coverage

lint: build
	@exec script/lint

format: setup
	@find src tests bench -name '*.[ch]' -exec clang-format -i {} +

fuzz: setup
	@exec script/fuzz

install: build
	@$(if $(PREFIX),meson configure build --prefix='$(PREFIX)')
	@meson install -C build

clean:
	rm -rf build build-asan build-coverage build-fuzz build-release build-tsan

.PHONY: help setup build run test soak bench simulate coverage lint format fuzz install clean
