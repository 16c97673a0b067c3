# Every task of the project by its name. `make` alone lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run build release test check demo integration soak certs clean packages tools browser

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

integration: release browser ## real servers, real nginx, a real browser, kill -9, bad input
	.build-browser/bin/python3 Tests/Integration/run

soak: release browser ## the same with larger numbers (GATEHOUSE_SOAK times, 10 unless set)
	GATEHOUSE_SOAK=$${GATEHOUSE_SOAK:-10} .build-browser/bin/python3 Tests/Integration/run

certs: ## a development CA and a certificate for localhost, in Certs/out
	Certs/make-certs

clean: ## remove what was built, and the development certificates
	rm -rf .build .build-browser Certs/out

packages:
	@Deploy/install-packages

tools:
	@Deploy/install-packages integration

# Selenium, which drives the browser, in a place of its own; made again when its versions change.
browser: requirements := Tests/Integration/requirements.txt
browser:
	@Deploy/install-packages browser
	@cmp -s $(requirements) .build-browser/requirements.txt \
	    && .build-browser/bin/python3 -c 'import selenium' 2>/dev/null || { \
	    echo "installing Selenium in .build-browser"; \
	    python3 -m venv --clear .build-browser \
	    && .build-browser/bin/pip --quiet --disable-pip-version-check install -r $(requirements) \
	    && cp $(requirements) .build-browser/requirements.txt; }
