# Two commands do everything on a fresh machine that has Python 3.11 or newer and make: `make demo` and `make test`.
.PHONY: setup demo test check schemas simulate mutations kill late-labels evidence pipeline pipeline-check sdk-check package package-check bench bench-capture bench-guard bench-cold-start bench-label-join bench-labels bench-month bench-window openapi-fuzz browser-check deploy package-test fuzz clean

PYTHON ?= python3
BIN := .venv/bin

# Decision trees and linear algebra on tiny batches: threads cost more than they give.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

setup: .venv/done  ## a virtual environment with the `plumbline` command

.venv/done: requirements.txt requirements-dev.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: setup  ## the main job on real data, without an AWS account; reports in demo-output/
	$(BIN)/python -m demo --out demo-output

test: setup  ## unit, contract and integration tests
	$(BIN)/python -m pytest -n 2

check: setup  ## linter, formatter, types; the architecture test is part of `make test` too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

schemas: setup  ## schemas/*.schema.json anew from the types
	$(BIN)/python -m schemas

simulate: setup  ## hostile histories from fresh seeds; SEED=… replays, RUNS=… says how many (10,000 by default)
	$(BIN)/python -m trials.simulation $(if $(SEED),--seed $(SEED)) --runs $(or $(RUNS),$(if $(SEED),1,10000)) --coverage

mutations: setup  ## faults planted on purpose: after how many histories is each caught?
	$(BIN)/python -m trials.simulation --mutations

kill: setup  ## kill -9 of the handlers' process at KILLS=… (20) random moments of a shortened demo; SEED=… repeats them
	$(BIN)/python -m trials.kill --kills $(or $(KILLS),20) $(if $(SEED),--seed $(SEED))

late-labels: setup  ## labels late, never, corrected, twice, shuffled on HOURS=… (40) of the demo's captures: the reports restate and end as of labels at once; SEED=…
	$(BIN)/python -m trials.late_labels --hours $(or $(HOURS),40) $(if $(SEED),--seed $(SEED))

evidence: setup  ## false alarms, power, causes, retraining, measured against their limits; PART="…" runs some parts; writes docs/evidence.md
	$(BIN)/python -m trials.evidence $(foreach part,$(PART),--part $(part))

fuzz: .venv-fuzz/done  ## every reader of foreign bytes under a coverage-guided fuzzer; SECONDS=… for each, READERS="…"
	.venv-fuzz/bin/python -m trials.fuzz --seconds $(or $(SECONDS),120) $(READERS)

.venv-fuzz/done: trials/fuzz/requirements.txt requirements.txt constraints.txt
	$(PYTHON) -m venv .venv-fuzz
	@.venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
		-r trials/fuzz/requirements.txt -c constraints.txt || \
		{ echo "atheris has wheels for Python 3.11 to 3.13 on Linux (x86-64); $(PYTHON) is $$($(PYTHON) --version 2>&1)"\
			"on $$(uname -sm). Try: make fuzz PYTHON=python3.12"; exit 1; }
	touch $@

openapi-fuzz: setup .venv-openapi/done  ## calls drawn from the webhook's OpenAPI document (schemathesis); EXAMPLES=… (200), SEED=…
	$(BIN)/python -m tests.openapi .venv-openapi/bin/schemathesis --examples $(or $(EXAMPLES),200) $(if $(SEED),--seed $(SEED))

.venv-openapi/done: tests/openapi/requirements.txt tests/openapi/constraints.txt
	$(PYTHON) -m venv .venv-openapi
	.venv-openapi/bin/python -m pip install --quiet --disable-pip-version-check -r tests/openapi/requirements.txt \
		-c tests/openapi/constraints.txt
	touch $@

browser-check: setup tests/browser/node_modules/done  ## the pages in headless Chromium, with axe; FOLDER=demo-output too, PICTURES=… a folder for pictures
	$(BIN)/python -m tests.browser --chromium "$$(command -v chromium || command -v chromium-browser || command -v google-chrome)" \
		--folder "$(FOLDER)" --pictures "$(PICTURES)"

tests/browser/node_modules/done: tests/browser/package.json tests/browser/package-lock.json
	@command -v chromium chromium-browser google-chrome >/dev/null || \
		{ apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } || \
		{ echo "a browser is needed: install Chromium, so that \`chromium\` is found"; exit 1; }
	npm --prefix tests/browser ci --silent --no-fund --no-audit
	touch $@

pipeline: .venv-pipeline/done  ## rebuild the retraining pipeline's definition with the SageMaker SDK (1 GB, own environment)
	.venv-pipeline/bin/python -m pipelines.retraining

pipeline-check: .venv-pipeline/done  ## is the committed definition what the SDK builds?
	.venv-pipeline/bin/python -m pipelines.retraining --check

sdk-check: setup .venv-pipeline/done  ## do the SageMaker SDK's readers take every file of a report?
	$(BIN)/python -m tests.sdk .venv-pipeline/bin/python

.venv-pipeline/done: pipelines/requirements.txt
	$(PYTHON) -m venv .venv-pipeline
	.venv-pipeline/bin/python -m pip install --quiet --disable-pip-version-check -r pipelines/requirements.txt
	touch $@

STAGE ?= dev
ARCH ?= arm64

package: .venv-package/done  ## CloudFormation template and zips of STAGE=… (dev) for ARCH=… (arm64), with their checks
	.venv-package/bin/python -m infra.package --stage "$(STAGE)" --arch "$(ARCH)"

# The machine's own: what is packaged for it can be run here.
HERE := $(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x86_64)

package-test: .venv-package/done  ## the tests of the checks, with the SAM translator, on the packaging Python
	.venv-package/bin/python -m pytest tests/unit/infra/test_checks.py tests/unit/infra/test_package.py

package-check: setup build/package/$(STAGE)-$(HERE)/manifest.json  ## the demo, shortened, on what was packaged; policies against calls
	$(BIN)/python -m trials.packaged --stage "$(STAGE)" --arch $(HERE)

bench: setup  ## a window of RECORDS=… (1,000,000) captures to its verdict, against `orjson.loads` of the same bytes; LARGE=1: ten times as many too
	$(BIN)/python -m bench.speed --records $(or $(RECORDS),1000000) --rounds $(or $(ROUNDS),3) $(if $(LARGE),--large)

bench-capture: setup  ## what capturing costs a prediction, over REQUESTS=… (1,000,000) through the ASGI middleware; is any lost?
	$(BIN)/python -m bench.capture_writer --requests $(or $(REQUESTS),1000000)

bench-guard: setup  ## a million captures in CI: calls of Python a record, memory, and a loose bound on the ratio
	$(BIN)/python -m bench.speed --guard

bench-label-join: setup  ## CPU, bytes and objects that a batch of labels costs against 1, 30 and 365 days of windows
	$(BIN)/python -m bench.label_join

bench-window: setup  ## CPU and memory of a window in the deployed function; fails above 40 bytes of join a captured row
	$(BIN)/python -m bench.window_memory

bench-cold-start: setup build/package/$(STAGE)-$(HERE)/manifest.json  ## cold starts of the packaged functions against `import boto3`
	$(BIN)/python -m bench.cold_start --stage "$(STAGE)" --arch $(HERE)

bench-month: setup  ## a simulated month of one endpoint, each call counted and priced; ROWS=… (1000) an hour, LABELS=at-once|2-days|30-days, BY=webhook|s3
	$(BIN)/python -m bench.month --rows $(or $(ROWS),1000) --labels $(or $(LABELS),30-days) --by $(or $(BY),webhook)

bench-labels: setup  ## signed posts of ten labels for SECONDS=… (60), at most MOST=… (400) a second, over fakes and over the emulator; are all in a report?
	$(BIN)/python -m bench.label_load --seconds $(or $(SECONDS),60) --most $(or $(MOST),400)

build/package/$(STAGE)-$(HERE)/manifest.json: app.py requirements.txt constraints.txt $(shell find chalicelib infra -name '*.py')
	@$(MAKE) package STAGE="$(STAGE)" ARCH=$(HERE)

deploy: .venv-package/done  ## package STAGE=…, show the change set, execute it when you say yes (YES=1: without asking); never run against AWS
	.venv-package/bin/python -m infra.deploy --stage "$(STAGE)" --check
	@$(MAKE) package STAGE="$(STAGE)" ARCH="$(ARCH)"
	.venv-package/bin/python -m infra.deploy --stage "$(STAGE)" --arch "$(ARCH)" $(if $(YES),--yes)

.venv-package/done: requirements.txt constraints.txt infra/requirements.txt infra/constraints.txt infra/find-python
	@python=$$(PACKAGE_PYTHON="$(PACKAGE_PYTHON)" sh infra/find-python) && rm -rf .venv-package && \
		echo "$$python -m venv .venv-package" && "$$python" -m venv .venv-package
	.venv-package/bin/python -m pip install --quiet --disable-pip-version-check \
		-r infra/requirements.txt -c infra/constraints.txt
	touch $@

clean:  ## environments, caches, demo output
	rm -rf .venv .venv-pipeline .venv-package .venv-fuzz .venv-openapi demo-output build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
