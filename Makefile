# All tasks of this repository; `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
E2E ?= .venv-e2e
LOCKED ?= .venv-locked
SITE ?= .venv-site
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test test-service prove processors fuzz-api bench bench-cold bench-serve bench-model bench-folder bench-ray bench-spark coverage mutation record lock sbom dist docs site lint graph types format image event validate e2e workstation dicomweb pacs viewers clean

help: ## List the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

demo: $(VENV)/.workstation ## Segment a real chest X-ray; writes demo/mask.png and demo/overlay.png
	@mkdir -p demo
	@$(BIN)/lungseg segment "$$($(BIN)/python -c "from pydicom.data import get_testdata_file as find; print(find('RG1_UNCR.dcm', download=False))")" \
		--output demo/mask.png --overlay demo/overlay.png

test: $(VENV)/.all ## Run all tests in random order; SEED=N repeats an order
	$(BIN)/python -m pytest $(if $(SEED),--randomly-seed=$(SEED))

test-service: $(VENV)/.service ## Run the tests of lungseg and app, without PyTorch
	$(BIN)/python -m pytest --ignore tests/model_export

processors: $(VENV)/.workstation ## Run smoke tests on emulated processors: x86 with AVX2 only, and arm64 as on Lambda
	$(BIN)/python tests/processors/avx2.py
	$(BIN)/python tests/processors/arm64.py

fuzz-api: $(VENV)/.service ## Send 2,000 generated requests to the API, checked against its OpenAPI description
	LUNG_CASES=2000 $(BIN)/python -m pytest -s tests/lungseg/server/test_openapi.py

prove: $(VENV)/.all ## Test every promise of docs/RELIABILITY.md in full, in under an hour; ARGS=--docs writes its table
	$(BIN)/python tests/tools/prove.py $(ARGS)

bench: $(VENV)/.all ## Time every entry point, its lower bound and the original project, on one core; ARGS=--docs writes the docs
	$(BIN)/python -m benchmarks.image $(ARGS)

bench-cold: $(E2E)/.all ## Time cold starts through Lambda's runtime interface, with imports and peak memory
	$(E2E)/bin/python -m benchmarks.cold $(ARGS)

bench-serve: $(VENV)/.workstation ## Load the local server with 64 clients; run a folder with one worker and with two
	$(BIN)/python -m benchmarks.serve $(ARGS)
	$(BIN)/python -m benchmarks.workers $(ARGS)

bench-model: $(VENV)/.all ## Time the network against the original project's, on one core
	$(BIN)/python -m benchmarks.model

bench-folder: $(VENV)/.workstation ## Segment a folder of 10,000 images, killed half-way and resumed
	$(BIN)/python -m benchmarks.folder

bench-ray: $(VENV)/.workstation ## Segment 500 images with Ray Data, an actor killed on the way; needs pip install "ray[data]"
	PYTHONPATH=. $(BIN)/python -m benchmarks.ray_cluster $(ARGS)

bench-spark: $(VENV)/.workstation ## Segment 500 images with Spark, a process killed on the way; needs Java, and pip install pyspark pandas pyarrow
	PYTHONPATH=. $(BIN)/python -m benchmarks.spark_cluster $(ARGS)

coverage: $(VENV)/.service ## Measure branch coverage of app and lungseg; it must be at least 95 %
	PYTHONPATH=tests/support $(BIN)/python tests/tools/branches.py $(ARGS)

mutation: $(VENV)/.service ## Measure how many mutations of decoders, mask and folder runs the tests detect: ARGS=--help
	PYTHONPATH=tests/support $(BIN)/python tests/tools/mutation.py $(ARGS)

record: $(VENV)/.service ## Write or compare checksums of all outputs: ARGS="write before.json", "compare before.json after.json"
	PYTHONPATH=.:tests/support $(BIN)/python tests/tools/record_outputs.py $(ARGS)

lock: $(VENV)/.service ## Write requirements.lock and workstation.lock, with digests; ARGS=--upgrade for newer versions
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" $(ARGS) requirements.txt --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" $(ARGS) --constraint requirements.lock \
		--constraint lungseg/requirements.txt --extra serve --extra dicom-net pyproject.toml --output-file workstation.lock

sbom: $(VENV)/.service $(LOCKED)/.all $(LOCKED)/.arm64 ## Write docs/sbom.json and docs/LICENCES.md: the contents of the container image
	PYTHONPATH=. $(BIN)/python tests/tools/sbom.py $(LOCKED)/bin/python $(LOCKED)/arm64

docs: $(VENV)/.service ## Write docs/SETTINGS.md, the manual page, the tables of docs/ERRORS.md, the drawing in docs/ARCHITECTURE.md
	$(BIN)/python -m lungseg.settings > docs/SETTINGS.md
	PYTHONPATH=. $(BIN)/python tests/tools/error_tables.py
	PYTHONPATH=. $(BIN)/python tests/tools/man_page.py
	$(BIN)/python tests/tools/graph.py --docs > /dev/null

site: $(SITE)/.all $(SITE)/mermaid.min.js ## Build the documentation as a website into site/; needs npm; fails on broken links
	MERMAID=$(SITE)/mermaid.min.js NO_MKDOCS_2_WARNING=1 $(SITE)/bin/python -m mkdocs build $(ARGS)

dist: $(VENV)/.service ## Build wheel and sdist, check them, and segment an image with the installed wheel
	$(BIN)/python tests/tools/try_wheel.py $(ARGS)

lint: $(VENV)/.all ## Check style, import directions and GitHub's workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/zizmor --offline --quiet --no-progress .github

graph: $(VENV)/.service ## Print which packages import which; ARGS=--docs draws it into docs/ARCHITECTURE.md
	$(BIN)/python tests/tools/graph.py $(ARGS)

types: $(VENV)/.all ## Check types
	$(BIN)/mypy

format: $(VENV)/.all ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

image: ## Build the container image for AWS Lambda (needs Docker)
	docker build --tag lung-segmentation .

event: $(VENV)/.workstation ## Put an image into an example event: make event IMAGE=chest.dcm EVENT=api_gateway_v1 > event.json
	@$(BIN)/python events/make_event.py events/$(or $(EVENT),api_gateway_v1).json $(IMAGE)

validate: $(E2E)/.all $(E2E)/checkov/.all ## Check template.yaml and Dockerfile with cfn-lint, hadolint and checkov
	$(E2E)/bin/python -m pytest tests/e2e/test_lint.py tests/app/test_template.py tests/promises/test_template_policy.py

e2e: $(E2E)/.all $(E2E)/checkov/.all ## Run the service as on AWS: the container image, sam local, S3, SQS, the state machine
	$(E2E)/bin/python -m pytest -s tests/e2e --ignore tests/e2e/test_workstation.py

workstation: $(E2E)/.all ## Build the container image for a workstation, and run every command of docs/howto/container.md
	$(E2E)/bin/python -m pytest -s tests/e2e/test_workstation.py

dicomweb: $(VENV)/.service ## Segment 200 studies of a real Orthanc over DICOMweb, with kills and an outage; needs orthanc-dicomweb
	$(BIN)/python -m pytest -s tests/pacs/test_orthanc_dicomweb.py

pacs: $(VENV)/.workstation $(VENV)/.service $(VENV)/ohif/index.html ## Send images through the DICOM node to a real Orthanc and OHIF; needs npm, chromium and orthanc-dicomweb
	OHIF=$(VENV)/ohif $(BIN)/python -m pytest -s tests/pacs/test_node_viewer.py tests/pacs/test_orthanc_node.py

viewers: $(VENV)/.service $(VENV)/ohif/index.html ## Show the DICOM outputs in OHIF; needs npm, chromium and orthanc-dicomweb
	OHIF=$(VENV)/ohif $(BIN)/python -m pytest -s tests/pacs/test_viewers.py

clean: ## Remove what the targets made, except images and runs
	rm -rf $(VENV) $(E2E) $(LOCKED) $(SITE) site dist mutants mutants.log .coverage* demo .mypy_cache .ruff_cache .pytest_cache

# One virtual environment; each stamp file says what was installed into it.
$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.13 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.workstation: requirements.txt lungseg/requirements.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) -r lungseg/requirements.txt
	$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.service: requirements.txt lungseg/requirements.txt tests/requirements.txt | $(VENV)/bin/python
	$(PIP) -r lungseg/requirements.txt -r tests/requirements.txt
	@touch $@

$(VENV)/.all: requirements.txt lungseg/requirements.txt model_export/requirements.txt tests/requirements.txt | $(VENV)/bin/python
	$(PIP) -r model_export/requirements.txt -r tests/requirements.txt
	@touch $@

$(SITE)/.all: requirements.txt lungseg/requirements.txt docs/requirements.txt
	$(PYTHON) -m venv $(SITE)
	$(SITE)/bin/python -m pip install --quiet --disable-pip-version-check -r docs/requirements.txt
	@touch $@

# Draws the diagrams in the reader's browser. The theme would load it from a CDN, which then learns who reads what.
MERMAID_VERSION := 11.17.2
MERMAID_SHA256 := 581ed7d74bd9048d0e3a91363927d72ef22942d7722546b27f7cc29e35390eb8
$(SITE)/mermaid.min.js: Makefile | $(SITE)/.all
	npm pack --silent --pack-destination $(SITE) mermaid@$(MERMAID_VERSION)
	tar -xzOf $(SITE)/mermaid-$(MERMAID_VERSION).tgz package/dist/mermaid.min.js > $@.partial
	echo "$(MERMAID_SHA256)  $@.partial" | sha256sum --check --quiet
	mv $@.partial $@

# The viewer of `make viewers`, as it is built for the web.
OHIF_VERSION := 3.12.10
OHIF_SHA256 := fbabd410be33e5b9898931b725229b9da9553aac339914b5c29796d3aa5d4b2d
$(VENV)/ohif/index.html: | $(VENV)/bin/python
	mkdir -p $(@D)
	npm pack --silent --pack-destination $(VENV) @ohif/app@$(OHIF_VERSION)
	echo "$(OHIF_SHA256)  $(VENV)/ohif-app-$(OHIF_VERSION).tgz" | sha256sum --check --quiet
	tar -xzf $(VENV)/ohif-app-$(OHIF_VERSION).tgz --strip-components 2 --touch -C $(@D) package/dist

# Exactly what the container image installs.
$(LOCKED)/.all: requirements.lock | $(VENV)/bin/python
	$(VENV)/bin/python -m venv --clear --without-pip $(LOCKED)
	$(BIN)/python -m pip --python $(LOCKED)/bin/python install --quiet --disable-pip-version-check \
		--only-binary=:all: --require-hashes -r requirements.lock
	@touch $@

# The wheels that an arm64 image installs instead, by the same lock; --platform lists the tags that arm64 accepts.
ARM64 := $(foreach glibc,34 28 27 26 17,--platform manylinux_2_$(glibc)_aarch64) --platform manylinux2014_aarch64
$(LOCKED)/.arm64: requirements.lock | $(VENV)/bin/python
	rm -rf $(LOCKED)/arm64
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
		$(ARM64) --implementation cp --python-version 3.12 --dest $(LOCKED)/arm64 -r requirements.lock
	@touch $@

# The tools of AWS, in two environments because checkov pins its own boto3. So does aws-sam-cli, but it works with a newer
# one: the service's requirements are installed last and win; pip warns about it.
$(E2E)/.all: requirements.txt lungseg/requirements.txt tests/e2e/requirements.txt
	$(PYTHON) -m venv $(E2E)
	$(E2E)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/e2e/requirements.txt
	$(E2E)/bin/python -m pip install --quiet --disable-pip-version-check -r lungseg/requirements.txt
	@touch $@

$(E2E)/checkov/.all: tests/e2e/checkov.txt | $(E2E)/.all
	$(PYTHON) -m venv $(E2E)/checkov
	$(E2E)/checkov/bin/python -m pip install --quiet --disable-pip-version-check -r tests/e2e/checkov.txt
	@touch $@
