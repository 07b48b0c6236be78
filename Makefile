# What people and CI run. `make help` lists the targets.
export CARGO_TERM_COLOR ?= never
export CARGO_INCREMENTAL ?= 0

CARGO ?= cargo
RELEASE = $${CARGO_TARGET_DIR:-target}/release

.PHONY: help build demo test soak soak-kafka bench fuzz lint docs testbed

help:
	@echo 'make demo   a local world (klamm dev): Kafka, functions and a worker in one process, records on their way'
	@echo 'make test   all tests, the end-to-end ones on a real Kafka'
	@echo 'make soak   faults of functions, workers and brokers under load, again and again: KLAMM_SOAK_SECONDS (600)'
	@echo 'make soak-kafka   the same for the Kafka client alone'
	@echo 'make bench  speed and memory against a real Kafka, as a table'
	@echo 'make fuzz   damaged bytes for every decoder of the Kafka client and every converter'
	@echo 'make lint   format, clippy and rustdoc, warnings denied'
	@echo 'make build  the release binary, target/release/klamm'
	@echo 'make docs   the API documentation'

build:
	$(CARGO) build --release --locked -p klamm

# Needs nothing but Rust and Python or Node.
demo:
	$(CARGO) build --release --locked -p klamm
	$(RELEASE)/klamm dev examples/orders --once $(ARGS)

# The end-to-end tests run the binary, which cargo does not build for tests of another package.
test: testbed
	$(CARGO) build --locked -p klamm
	$(CARGO) test --workspace --locked

# The short forms of the same faults are part of `test`. The rate is KLAMM_SOAK_RATE records a second (2,000).
soak: testbed
	$(CARGO) build --release --locked -p klamm
	KLAMM_BIN=$$(realpath $(RELEASE)/klamm) KLAMM_SOAK_SECONDS=$${KLAMM_SOAK_SECONDS:-600} \
	  $(CARGO) test -p klamm-tests --test ledger --locked -- --ignored --nocapture

# The seed is printed; KLAMM_SOAK_SEED repeats a run's order.
soak-kafka: testbed
	KLAMM_SOAK_SECONDS=$${KLAMM_SOAK_SECONDS:-600} $(CARGO) test -p klamm-kafka --test faults --locked -- --ignored --nocapture

bench: testbed
	$(CARGO) build --release --locked -p klamm -p klamm-benches --features klamm-benches/compare
	$(RELEASE)/bench $(ARGS)
	$(RELEASE)/bench-clients

# Damaged bytes for every decoder of the Kafka client, and for every converter with schemas made by chance, e.g.
# `make fuzz ARGS='--seconds 600 --only records'`: a name that only one of them has is no target of the other.
fuzz:
	$(CARGO) run --release --locked -p klamm-kafka --example fuzz -- $(ARGS)
	$(CARGO) run --release --locked -p klamm-converters --example fuzz -- $(ARGS)

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked

docs:
	$(CARGO) doc --workspace --no-deps --locked

# Downloads once, to ~/.cache/klamm-test; does nothing when everything is there.
testbed:
	tests/testbed/kafka fetch
	tests/testbed/lambda fetch
	tests/testbed/clients fetch
	tests/testbed/aws-sdk fetch
