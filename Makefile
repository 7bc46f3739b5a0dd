# Two commands do everything: `make demo` shows it working, `make test` runs every test.
# Both say what they do, reuse what exists and make what is missing.

SHELL        := /bin/bash
.SHELLFLAGS  := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS    += --no-print-directory

TOOL    := go tool -modfile=hack/tools/go.mod
CLUSTER := go run ./e2e/cluster/cmd/cluster
GOTEST  := $(TOOL) gotestsum --format=pkgname --format-hide-empty-pkg --
UNIT    := $(GOTEST) $(if $(SHUFFLE),-shuffle=$(SHUFFLE)) -vet=off -timeout 25m # verify vets
comma   := ,
# As releases are built, so that what is compiled for them serves the tests, too.
export GOFLAGS ?= -mod=readonly -trimpath
export CGO_ENABLED ?= 0

##@ Everyday

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "; print "usage: make TARGET"} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The race detector makes tests several times as slow. Nothing is concurrent in the model, the
# manifests and the docs, and with -short it sees a sample of the launchers' interleavings and
# not the longest tests of LONG.
UNRACED := ./claims/model ./docs ./manifests
LONG    := ./launcher ./prefect/prefect1
.PHONY: unit
unit: ## Unit, protocol and race tests (seconds on a warm cache; SHUFFLE=on: all, in random order)
	@echo "==> unit tests, with the race detector$(if $(SHUFFLE),$(comma) in random order) (with nothing cached it compiles for minutes first)"
	@CGO_ENABLED=1 $(UNIT) -race -short -gcflags=all=-dwarf=false $$(go list ./... | grep -v $(patsubst ./%,-e /%$$,$(UNRACED)))
	@echo "==> unit tests without it: the model, the manifests, the docs, every interleaving of launchers, large answers"
	@$(UNIT) $(UNRACED) $(LONG)

.PHONY: build
build: ## Build the static binaries into bin/
	@hack/build.sh

.PHONY: image
image: ## Build an image, IMAGE=REGISTRY/NAME:TAG, for this machine's processor; you push it
	@[ -n "$(IMAGE)" ] || { echo 'make image: give IMAGE, as in: make image IMAGE=registry.example.com/prefect-keda:dev' >&2; exit 2; }
	@hack/build.sh
	@GOOS=linux hack/build.sh bin/linux
	@docker build -q -t "$(IMAGE)" -f Dockerfile bin/linux
	@echo "built $(IMAGE); now: docker push $(IMAGE) (or kind load docker-image $(IMAGE))"

.PHONY: demo
demo: ## Show the main job live on a local kind cluster; draws e2e/out/timeline.svg (PREFECT=3: with the real Prefect 3 server)
	@echo "==> building the demo (the first time its Go modules are downloaded)"
	@go run ./e2e/cmd/demo up $(if $(PREFECT),--prefect $(PREFECT))

# A small demo, for `make test`, without keeping its picture. It fails when a flow run
# does not succeed, or when launchers do not go back to zero.
.PHONY: demo-small
demo-small:
	@echo "==> make demo, a small one"
	@dir=$$(mktemp -d); trap "rm -rf $$dir" EXIT; go run ./e2e/cmd/demo up --burst 5 --picture $$dir/timeline.svg

.PHONY: demo-down
demo-down: ## Remove the demo's cluster
	@$(CLUSTER) down

.PHONY: test
test: ## Run every test: checks, unit, the real Python client and agent, kind with real KEDA
	@hack/test.sh

##@ Parts of `make test`

.PHONY: verify
verify: ## Format, lint and vet, generated code, module files, workflows, licenses; every check runs, then they report together
	@hack/verify.sh

.PHONY: page
page: ## The scaler's page in a Chromium without a window, which is installed where we are root on Debian
	@echo "==> the scaler's page in a browser: dark and light, on a phone and on a desk"
	@PREFECT_KEDA_BROWSER=install go test -count=1 -v -run TestInABrowser ./scaler/page | grep -v '^=== RUN'

.PHONY: conformance
conformance: ## The real Prefect from PyPI: the client and agent of 1.4.1, the servers of 3.9.1 and 2.20.26
	@echo "==> conformance: real Prefect 1.4.1 client and Kubernetes agent against the stand-in API, real Prefect 3 and 2 servers beside theirs"
	@$(GOTEST) -tags conformance -count=1 -timeout 20m ./e2e/conformance/...

.PHONY: cluster
cluster: ## Bring the kind cluster with KEDA up (or reuse it)
	@$(CLUSTER) up

.PHONY: e2e
e2e: ## Scenarios on kind with real KEDA; ARGS='-run REGEXP' picks
	@echo "==> e2e: scenarios on kind with real KEDA"
	@go test -tags e2e -count=1 -timeout 45m -v $(ARGS) ./e2e

# Apart from the other scenarios: beside them, these flows and servers are too much for two cores.
.PHONY: pools
pools: ## Scenarios of Prefect 3 on kind with the real server; ARGS='-run REGEXP' picks
	@echo "==> pools: work pools with the real Prefect 3 server on PostgreSQL"
	@go test -tags e2e,pools -count=1 -timeout 45m -v $(or $(ARGS),-run 'Pool|Prefect3|PrefectHolds|BetweenClaimAndJob') ./e2e

.PHONY: chaos-small
chaos-small:
	@echo "==> chaos, a small one: launchers, scalers, requests, watches, servers and clocks break while runs come due"
	@go test -tags e2e,chaos -count=1 -timeout 20m -run '^TestChaos$$' ./e2e -v $(ARGS)

##@ On demand

.PHONY: chaos
chaos: ## Break everything around 2,000 flow runs of each Prefect, on the kind cluster (half an hour); ARGS='-seed N' repeats
	@echo "==> chaos: everything breaks around 2,000 flow runs of each Prefect"
	@go test -tags e2e,chaos -count=1 -timeout 90m -run '^(TestChaos|TestNodeDies)$$' ./e2e -v -runs 2000 -over 8m -skew $(ARGS)

# It ends by itself, and every wait in it has a limit.
.PHONY: soak
soak: ## Soak for ten minutes on the kind cluster: mixed load, rollouts, KEDA's restarts, the release before beside this one; ARGS='-for 2h' is longer
	@echo "==> soak: mixed load, rollouts, restarts of KEDA, an upgrade and back; nothing may grow"
	@go test -tags e2e,soak -count=1 -timeout 0 -run '^TestSoak$$' ./e2e -v $(ARGS)

.PHONY: generate
generate: ## Regenerate the GraphQL client and the generated docs
	@go generate ./...
	@go test ./config -run Docs -update >/dev/null
	@go test ./scaler -run MetadataTable -update >/dev/null
	@go test ./cmd/prefect-keda -run MetricsDocument -update >/dev/null
	@go test ./claims/model -run Protocol -update >/dev/null
	@cd hack/supply && go test -run LicensesPage -update >/dev/null
	@go test ./e2e/sidebyside -run Page -update >/dev/null

.PHONY: fmt
fmt: ## Format with gofumpt
	@$(TOOL) gofumpt -w $$(git ls-files '*.go' | grep -v -e generated.go)

.PHONY: fuzz
fuzz: ## Fuzz every parser of foreign input, 30 s each; ARGS='60s scaler' sets the time and picks
	@hack/fuzz.sh $(ARGS)

.PHONY: model
model: ## Visit all states of larger models of the claim protocol than the unit tests do (minutes)
	@PREFECT_KEDA_MODEL=all go test ./claims/model -run LargerWorlds -count=1 -timeout 60m -v

.PHONY: mutate
mutate: ## Take each guard of hack/mutate/guards.diff away and run the test that must fail (ten minutes on two idle cores); ARGS='-only REGEXP' picks
	@echo "==> every guard, taken away"
	@go run ./hack/mutate $(ARGS)

.PHONY: mutate-all
mutate-all: ## Break the code in many places and list what no test notices (hours); ARGS='-sample 50 ./trouble' shortens
	@echo "==> the code, broken in many places (ARGS=-h lists the flags)"
	@nice -n 19 go run ./hack/mutate -sweep $(ARGS)

.PHONY: keda-versions
keda-versions: ## KEDA's own client, of each version that we support, at the scaler (a minute, the first time a quarter of an hour on two idle cores); VERSIONS=2.17,2.21 picks
	@echo "==> KEDA's own client at the scaler, of $(or $(VERSIONS),each supported version) (the first time its Go modules are downloaded and compiled)"
	@PREFECT_KEDA_VERSIONS=$(VERSIONS) go test -tags kedaversions -count=1 -parallel 10 -timeout 90m -v ./e2e/kedaversions | grep -v '^=== '

.PHONY: numbers
numbers: ## Measure Prefect 3 beside the real worker, on the kind cluster (a quarter of an hour); prints a table
	@echo "==> the numbers, with the real Prefect 3 server and the real Kubernetes worker"
	@go test -tags e2e,numbers -count=1 -timeout 90m -run '^TestNumbers$$' -v ./e2e

.PHONY: bench-side-by-side
bench-side-by-side: ## Measure beside the real agent, the real worker and bare loops, on the kind cluster (about an hour); ARGS=-publish puts it into docs/
	@echo "==> side by side: the agent, the worker, bare loops and prefect-keda, one after the other"
	@go test -tags e2e,sidebyside -count=1 -timeout 3h -run '^TestSideBySide$$' ./e2e -v $(ARGS)

.PHONY: bench
bench: ## Benchmarks; each reports a ratio against something run beside it
	@go test -run '^$$' -bench . -benchtime 2s -timeout 1h ./...
