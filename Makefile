# Every task of the project by its name. `make` alone lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run build release test check demo integration soak certs clean packages tools

GATEHOUSE := .build/release/gatehouse

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: release ## install what is missing, build, and start a development server
	$(GATEHOUSE) serve --dev

build: packages ## build everything for debugging
	swift build

release: packages ## build the `gatehouse` program for use
	swift build -c release --product gatehouse

# XCTest is left out: it would report its own "0 tests" beside the result.
test: packages ## install what is missing, and run the unit tests
	swift test --disable-xctest

check: packages ## formatting, size, dependency versions, nothing secret in git
	.ci/check

demo: release tools ## nginx in front of a small site, guarded by Gatehouse
	Deploy/demo

integration: release tools ## real servers, real nginx, kill -9, bad input
	Tests/Integration/run

soak: release tools ## the same with larger numbers (GATEHOUSE_SOAK times, 10 unless set)
	GATEHOUSE_SOAK=$${GATEHOUSE_SOAK:-10} Tests/Integration/run

certs: ## a development CA and a certificate for localhost, in Certs/out
	Certs/make-certs

clean: ## remove what was built, and the development certificates
	rm -rf .build Certs/out

packages:
	@Deploy/install-packages

tools:
	@Deploy/install-packages integration
