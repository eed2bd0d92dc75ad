# `make help` lists the targets. Two are enough to begin with: `make serve` and `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help

BINARY := target/release/intent-classifier
MODEL_DIR ?= models
ENCODER_DIR ?= $(MODEL_DIR)/encoder
# A Hugging Face directory to import the encoder from, instead of the pinned package.
ENCODER_SOURCE ?= target/encoder-source
PORT ?= 8001
export MODEL_DIR ENCODER_DIR PORT

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: serve
serve: $(MODEL_DIR)/CURRENT ## Install what is missing, build, train the default pack, serve on port 8001
	$(BINARY) serve

.PHONY: build
build: system ## Build the release binary
	cargo build --release --locked

.PHONY: system
system:
	@scripts/install-system-packages build

.PHONY: system-test
system-test: system
	@scripts/install-system-packages test

$(ENCODER_SOURCE)/model.safetensors:
	@scripts/install-system-packages fetch
	scripts/fetch-encoder $(ENCODER_SOURCE)

# The source is asked for inside the recipe, so that an imported encoder needs no download ever again.
$(ENCODER_DIR)/encoder.json: | build
	@$(MAKE) --no-print-directory $(ENCODER_SOURCE)/model.safetensors
	$(BINARY) models import $(ENCODER_SOURCE) --out $(ENCODER_DIR)

$(MODEL_DIR)/CURRENT: build $(ENCODER_DIR)/encoder.json
	@test -s $@ || $(BINARY) train --out $(MODEL_DIR)

.PHONY: test
test: test-unit test-real ## Run all tests, after installing what they need

.PHONY: test-unit
test-unit: system-test ## Run the tests that need no download
	@scripts/run-tests

.PHONY: test-real
test-real: $(MODEL_DIR)/CURRENT ## Run the tests against the real encoder and the default pack
	@scripts/run-tests --real

.PHONY: test-crash
test-crash: system-test ## Kill a hundred servers at random points and look for feedback that was lost or doubled
	cargo test --workspace --locked --test it -- --ignored a_hundred_kills

.PHONY: test-transformers
test-transformers: $(ENCODER_DIR)/encoder.json ## Prove with Hugging Face transformers that a fine-tuned directory loads
	@$(MAKE) --no-print-directory $(ENCODER_SOURCE)/model.safetensors
	scripts/test-transformers $(ENCODER_SOURCE)

.PHONY: test-console
test-console: system ## Drive the console in a real browser
	@scripts/install-system-packages browser
	cargo build --locked
	scripts/test-console target/debug/intent-classifier

.PHONY: draw-console
draw-console: $(MODEL_DIR)/CURRENT ## Take the pictures of the console in docs/images
	@scripts/install-system-packages browser
	scripts/draw-console $(BINARY)

.PHONY: test-kubernetes
test-kubernetes: ## Check the Kubernetes manifests against the real schemas and our own rules
	scripts/test-kubernetes

.PHONY: test-compose-config
test-compose-config: ## Check the compose files for every combination of profiles
	@scripts/install-system-packages compose
	scripts/test-compose-config

.PHONY: test-compose
test-compose: ## Build the images, bring the production stack up in containers, use, break and upgrade it
	@scripts/install-system-packages docker
	scripts/test-compose

.PHONY: test-zero-downtime
test-zero-downtime: build ## Upgrade three servers behind HAProxy under load, then kill one
	@scripts/install-system-packages balancer
	scripts/test-zero-downtime $(BINARY)

.PHONY: test-schemathesis
test-schemathesis: ## Call every operation 20,000 times with generated requests, and check the answers
	@scripts/install-system-packages fetch
	cargo build --locked
	scripts/test-schemathesis target/debug/intent-classifier

# For longer, or for some of them: make fuzz SECONDS=3600 TARGETS="http pack"
.PHONY: fuzz
fuzz: system ## Throw damaged input at everything that reads what strangers write, two minutes each
	scripts/fuzz $(or $(SECONDS),120) $(TARGETS)

.PHONY: test-torchserve
test-torchserve: system ## Serve an exported archive by the real TorchServe and compare its answers
	@scripts/install-system-packages torchserve
	@$(MAKE) --no-print-directory $(ENCODER_SOURCE)/model.safetensors
	cargo build --locked
	scripts/test-torchserve target/debug/intent-classifier $(ENCODER_SOURCE)

.PHONY: test-open-inference
test-open-inference: system ## Ask a real MLServer over the Open Inference Protocol
	@scripts/install-system-packages venv
	cargo build --locked
	scripts/test-open-inference target/debug/intent-classifier

# For single rows: make accuracy DATA=DIR ROWS="banking77 clinc150-distilbert"
.PHONY: accuracy
accuracy: $(MODEL_DIR)/CURRENT ## Measure accuracy on BANKING77 and CLINC150 in the folder DATA: docs/accuracy.md
	@test -n "$(DATA)" || { echo 'usage: make accuracy DATA=DIR [ROWS="ROW..."]' >&2; exit 2; }
	ENCODER_SOURCE=$(ENCODER_SOURCE) scripts/accuracy $(DATA) $(ROWS)

.PHONY: test-openfeature
test-openfeature: build ## Ask a running server for its flags with the real OpenFeature clients of Python and Node.js
	@scripts/install-system-packages openfeature
	scripts/test-openfeature $(BINARY)

.PHONY: check
check: system ## Format, lints, documentation, licences: what CI demands of every commit
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings --cfg fuzzing
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --document-private-items
	@command -v cargo-deny > /dev/null || cargo install --locked --quiet cargo-deny@0.20.2
	cargo deny --offline check bans licenses sources

.PHONY: audit
audit: ## Look the dependencies up in the RustSec advisory database (needs the network)
	@command -v cargo-deny > /dev/null || cargo install --locked --quiet cargo-deny@0.20.2
	cargo deny check advisories

.PHONY: bench
bench: $(MODEL_DIR)/CURRENT ## Measure encoder, server and memory in one run
	cargo bench --workspace --locked --bench encoder
	$(BINARY) bench

.PHONY: bench-serving
bench-serving: ## Measure the server under wrk with a MiniLM-size and a DistilBERT-base-size classifier alone
	@scripts/install-system-packages bench
	scripts/bench-serving minilm base

.PHONY: clean-models
clean-models: ## Forget the encoder and all trained versions
	rm -rf $(MODEL_DIR) target/encoder-source
