# Every task of the project by its name. `make` alone lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run build release test check demo integration soak fuzz fuzz-smoke certs clean
.PHONY: inventory promises timing bench bench-full bench-counts bench-tools bench-release plots
.PHONY: packages contract tools counting browser fuzz-programs

GATEHOUSE := .build/release/gatehouse
BENCH := .build/release/gatehouse-bench
RESULTS := Benchmarks/results
# Inputs that lead further are kept in .fuzz for the next run, and so is what breaks a rule.
FUZZ_RUNS ?= 10000000
# `fuzzer address` also checks memory, at half the speed.
FUZZ_SANITIZERS ?= fuzzer
fuzz-options := -artifact_prefix=.fuzz/ -timeout=10 -print_funcs=0 -print_final_stats=1
fuzz-head := .build-fuzz/release/FuzzHead $(fuzz-options) -max_len=2048 -dict=Tests/Fuzz/head.dict
fuzz-token := .build-fuzz/release/FuzzToken $(fuzz-options) -max_len=600
fuzz-form := .build-fuzz/release/FuzzForm $(fuzz-options) -max_len=1024
fuzz-hash := .build-fuzz/release/FuzzHash $(fuzz-options) -max_len=520
# Nothing that differs from run to run: neither hashes nor what depends on addresses and time.
fuzz-same := -seed=1 -reload=0 -use_cmp=0 -use_memmem=0 -verbosity=0

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: release ## install what is missing, build, and start a development server
	$(GATEHOUSE) serve --dev

build: packages ## build everything for debugging
	swift build

release: packages ## build the `gatehouse` program for use
	swift build -c release --product gatehouse

# XCTest is left out: it would report its own "0 tests" beside the result. A few tests at a time: all at
# once make each step of each wait until all others have had their turn.
test: packages ## install what is missing, and run the unit tests
	swift test --disable-xctest --experimental-maximum-parallelization-width 8

# Alone: what runs beside it would be measured too. In CI with 200.
timing: packages ## whether the time of a refused sign-in says anything (TIMING_SAMPLES of each kind)
	TIMING_SAMPLES=$${TIMING_SAMPLES:-3000} swift test --disable-xctest --filter TimingTests

inventory: packages ## write the page of keys and algorithms from the code's constants
	WRITE_INVENTORY=1 swift test --disable-xctest --filter CryptographicInventoryTests

promises: packages ## write the page of promises from the tests that name them
	WRITE_PROMISES=1 swift test --disable-xctest --filter PromiseTests

check: packages ## formatting, size, dependency versions, nothing secret in git
	.ci/check

demo: release tools ## nginx in front of a small site, guarded by Gatehouse
	Deploy/demo

contract: packages browser ## the store's contract on a PostgreSQL of its own
	.build-browser/bin/python3 Tests/Integration/contract

integration: release browser contract ## real servers, real nginx, a real browser, kill -9, bad input
	.build-browser/bin/python3 Tests/Integration/run

soak: release browser ## the same with larger numbers (GATEHOUSE_SOAK times, 10 unless set)
	GATEHOUSE_SOAK=$${GATEHOUSE_SOAK:-10} .build-browser/bin/python3 Tests/Integration/run

fuzz: fuzz-programs ## the check beside llhttp, ten million inputs; then tokens, forms and hashes
	@mkdir -p .fuzz/Fuzz{Head,Token,Form,Hash}
	$(fuzz-head) -runs=$(FUZZ_RUNS) .fuzz/FuzzHead Tests/Fuzz/Corpus/FuzzHead
	$(fuzz-token) -runs=$(FUZZ_RUNS) .fuzz/FuzzToken Tests/Fuzz/Corpus/FuzzToken
	$(fuzz-form) -runs=$(FUZZ_RUNS) .fuzz/FuzzForm Tests/Fuzz/Corpus/FuzzForm
	$(fuzz-hash) -runs=$(FUZZ_RUNS) .fuzz/FuzzHash Tests/Fuzz/Corpus/FuzzHash

fuzz-smoke: export SWIFT_DETERMINISTIC_HASHING := 1
fuzz-smoke: fuzz-programs ## the same for seconds, from the same seed every time
	@rm -rf .fuzz/smoke && mkdir -p .fuzz/smoke/Fuzz{Head,Token,Form,Hash}
	$(fuzz-head) $(fuzz-same) -runs=300000 .fuzz/smoke/FuzzHead Tests/Fuzz/Corpus/FuzzHead
	$(fuzz-token) $(fuzz-same) -runs=200000 .fuzz/smoke/FuzzToken Tests/Fuzz/Corpus/FuzzToken
	$(fuzz-form) $(fuzz-same) -runs=200000 .fuzz/smoke/FuzzForm Tests/Fuzz/Corpus/FuzzForm
	$(fuzz-hash) $(fuzz-same) -runs=1000000 .fuzz/smoke/FuzzHash Tests/Fuzz/Corpus/FuzzHash

# Short legs: it shows that everything runs and about where the figures are, in under four minutes.
bench: bench-release ## a short version of every benchmark
	$(BENCH) token --rounds 9 --save $(RESULTS)/token.json
	$(BENCH) check --transport tls --mix blend --duration 2 --save $(RESULTS)/check-tls.json
	$(BENCH) check --slow-clients --pairs 1 --duration 2 --warmup 7 --rate 20000 \
	    --save $(RESULTS)/check-slow.json
	$(BENCH) revocation --entries 100000 1000000 --pairs 3 --duration 1 --warmup 0.3 --delays 20 \
	    --save $(RESULTS)/revocation.json
	$(BENCH) peers --pairs 3 --duration 1 --warmup 0.3 --save $(RESULTS)/peers.json
	$(BENCH) login --rounds 3 --hashes 4 --save $(RESULTS)/login.json
	$(BENCH) rotate --seconds 5 --paused-seconds 5 --save $(RESULTS)/rotate.json
	@echo "left out, and run by make bench-full: 10,000,000 revocations, idle connections, 9 rounds of peers, a storm of sign-ins"

# Latencies need quiet: legs that other programs disturbed are run again.
bench-full: bench-release ## every benchmark at full length, half an hour
	$(BENCH) token --save $(RESULTS)/token.json
	$(BENCH) check --transport tls --mix blend --retries 5 --save $(RESULTS)/check-tls.json
	$(BENCH) check --slow-clients --pairs 9 --warmup 7 --rate 20000 --retries 5 \
	    --save $(RESULTS)/check-slow.json
	$(BENCH) check --transport unix --idle-connections 10000 --pairs 9 --retries 5 \
	    --save $(RESULTS)/check-idle.json
	$(BENCH) revocation --pairs 9 --retries 5 --save $(RESULTS)/revocation.json
	$(BENCH) peers --duration 4 --retries 5 --save $(RESULTS)/peers.json
	$(BENCH) login --save $(RESULTS)/login.json
	$(BENCH) flood --save $(RESULTS)/flood.json
	$(BENCH) rotate --save $(RESULTS)/rotate.json

# A little above what a check takes beyond libcrypto's calls; lowered whenever it takes less. The
# counts are the same on every run with one version of Swift.
bench-counts: bench-release counting ## that checks allocate nothing, and take no more instructions than they did
	$(BENCH) token --instruction-limit 7000

plots: bench-release ## draw pictures of what the benchmarks have measured
	$(BENCH) plot $(RESULTS)/*.json --output $(RESULTS)

bench-release: packages release
	swift build -c release --product gatehouse-bench
	@mkdir -p $(RESULTS)

# A current Go toolchain in a place of its own: Debian's is old, and the comparison shall be fair.
bench-tools: ## install what the benchmarks compare with: nginx, Go, valgrind
	@Deploy/install-packages bench
	@[ -x .build-bench/bin/go ] || { \
	    echo "installing Go in .build-bench"; \
	    python3 -m venv --clear .build-bench \
	    && .build-bench/bin/pip --quiet --disable-pip-version-check install \
	        -r Benchmarks/peers/requirements.txt; }

certs: ## a development CA and a certificate for localhost, in Certs/out
	Certs/make-certs

clean: ## remove what was built, and the development certificates
	rm -rf .build .build-browser .build-bench .build-fuzz Certs/out

fuzz-programs: packages
	swift build -c release --package-path Tests/Fuzz --scratch-path .build-fuzz \
	    $(addprefix --sanitize ,$(FUZZ_SANITIZERS))

packages:
	@Deploy/install-packages

tools:
	@Deploy/install-packages integration

counting:
	@Deploy/install-packages counts

# Selenium, which drives the browser, Schemathesis, which asks after the description, and axe-core, which
# looks at the pages, in a place of their own; made again when their versions change. axe-core comes in a
# package for another driver, which stays away.
browser: requirements := Tests/Integration/requirements.txt
browser: axe := axe-playwright-python==0.1.8
browser:
	@Deploy/install-packages browser
	@cmp -s $(requirements) .build-browser/requirements.txt \
	    && .build-browser/bin/python3 -c 'import selenium, schemathesis; \
	        import importlib.util; assert importlib.util.find_spec("axe_playwright_python")' \
	        2>/dev/null || { \
	    echo "installing Selenium, Schemathesis and axe-core in .build-browser"; \
	    python3 -m venv --clear .build-browser \
	    && .build-browser/bin/pip --quiet --disable-pip-version-check install -r $(requirements) \
	    && .build-browser/bin/pip --quiet --disable-pip-version-check install --no-deps $(axe) \
	    && cp $(requirements) .build-browser/requirements.txt; }
