# The commands of this project. `make test` is the one that matters; CI runs the same.

CARGO ?= cargo
# Tools that a fresh machine lacks are built once and kept here, outside the tree.
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/gpuscale
DENY  := $(CACHE)/tools/bin/cargo-deny

.DEFAULT_GOAL := test
.PHONY: test fast backends lint docs core audit soak planted bench quality

## Every test: fast ones first, then whole behaviour, for some of which real servers are brought, and eight minutes of
## CPU for fresh seeds of the whole system; then journals in other processes and the documentation's examples.
test: export SYSTEM_CPU_MINUTES ?= 8
# Every day has seeds of its own: what fails for one fails for all, and the next day asks something else.
test: export SYSTEM_SEED ?= $(shell date -u +%Y%m%d)000000
test:
	$(CARGO) test --profile ci --locked --lib
	backends=$$(sh .ci/provision) && . "$$backends" && $(CARGO) test --profile ci --locked --bins --tests
	SYSTEM_CPU_MINUTES= sh .ci/replay-elsewhere
	$(CARGO) test --profile ci --locked --doc

## Only the tests beside the code.
fast:
	$(CARGO) test --profile ci --locked --lib

## Brings the real servers of the tests, if they are not there yet.
backends:
	sh .ci/provision

## Format and lints; warnings are errors. A planted bug that no longer fits the source is one that nothing looks for.
lint:
	sh .ci/planted --check
	$(CARGO) fmt --check
	$(CARGO) clippy --profile ci --locked --all-targets -- -D warnings

## The core must not grow roots: no async runtime, no HTTP stack, no Kubernetes client, no command line.
core:
	$(CARGO) clippy --profile ci --locked --lib --no-default-features -- -D warnings
	sh .ci/core-has-no-roots

## Documentation; warnings are errors.
docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

## Licences, sources and bans of every dependency; advisories too where their database can be had.
audit: $(DENY)
	$(DENY) --locked check bans licenses sources
	$(DENY) --locked check advisories || echo "advisories: not checked (the database could not be fetched)"

$(DENY):
	$(CARGO) install --locked --root $(CACHE)/tools cargo-deny

## The long rounds: seeds of the whole system, and the properties over many more cases (SOAK_CASES is per property).
soak: SOAK_CASES ?= 20000
soak: SOAK_SEEDS ?= 100000
soak:
	$(CARGO) test --release --locked --test system \
	    --config 'profile.release.package.gpuscale.overflow-checks=true' \
	    --config 'profile.release.package.gpuscale.debug-assertions=true' -- --seeds $(SOAK_SEEDS)
	SOAK_CASES=$(SOAK_CASES) $(CARGO) test --profile ci --locked --test properties

## Plants known bugs one after the other and shows what finds each.
planted:
	sh .ci/planted

## Benchmarks, with rivals in the same run.
bench:
	$(CARGO) bench --locked

## The decision-quality table.
quality:
	$(CARGO) run --release --locked -- quality
