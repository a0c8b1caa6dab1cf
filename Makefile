# Every target makes the environment it needs from a bare Python 3.11.
PYTHON ?= python3.11
DEV := .venv
DEMO := .venv-demo
DOCS := .venv-docs
FOREIGN := .venv-foreign
WILD_KERAS := .venv-wild-keras
WILD_TORCH := .venv-wild-torch
LOCK := .venv-lock
# The packages of a lock, each checked against its sha256; then this project, which finds them there.
PIP := -m pip install --quiet --disable-pip-version-check
LOCKED := $(PIP) --no-deps --require-hashes -r requirements
THIS := $(PIP) -c constraints.txt --no-build-isolation -e
# Two processes of tests. One that dies ends the run: pytest-xdist would hang with another in its place.
TWO := -n 2 --max-worker-restart 0
DECLARED := setup.cfg pyproject.toml constraints.txt edge_effnet/version.py

.PHONY: demo test quick exhaustive check types docs parity bench fuzz pi clients foreign wild accelerators accelerators-gpu lock licences clean

demo: $(DEMO)/ready
	$(DEMO)/bin/edge-effnet demo --out report

# Two files of tests at a time: most tests keep one core busy.
test: $(DEV)/ready
	$(DEV)/bin/python -m pytest $(TWO) --dist loadfile -m "not exhaustive"

quick: $(DEV)/ready
	$(DEV)/bin/python -m pytest $(TWO) --dist loadfile -m "not slow and not exhaustive"

# What repeats a test on more networks, precisions or photos.
exhaustive: $(DEV)/ready
	$(DEV)/bin/python -m pytest $(TWO) --dist loadfile -m exhaustive

check: $(DEV)/ready
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(MAKE) types

# The type checker reads an installed wheel: it does not see through the editable folder mapping.
types: $(DEV)/ready
	rm -rf build
	$(DEV)/bin/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	$(DEV)/bin/python -m pip install --quiet --no-deps --target build/site build/wheel/*.whl
	cd build/site && ../../$(DEV)/bin/python -m mypy --config-file ../../pyproject.toml -p edge_effnet

# The documentation site, build/docs/index.html: a broken link or anchor fails. MkDocs has an
# environment of its own. Nothing is fetched while the site is built.
docs: $(DOCS)/ready
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build

# 100,000 damaged and hostile files of every format: about an hour on two cores. It continues where
# it was stopped; FUZZ='--seed 2' makes other files. The report is build/fuzz/report.json.
fuzz: $(DEV)/ready
	PYTHONPATH=.:tests $(DEV)/bin/python -m fuzz --out build/fuzz $(FUZZ)

# A bundle on an emulated Raspberry Pi 4, and the guide to it under a real systemd: as root, with
# Debian's packages and the package registry.
pi: $(DEV)/ready
	$(DEV)/bin/python -m pytest -rA tests/pi

# Programs that nobody here wrote open our files: a real Chromium (installed as root) with npm, and
# Python clients, each in an environment of its own (3 GB in all).
clients: $(DEV)/ready
	$(DEV)/bin/python -m pytest -rA tests/clients

# Every network of timm, torchvision and efficientnet_pytorch against ours.
parity: $(DEV)/ready
	$(DEV)/bin/python -m pytest $(TWO) --dist load tests/parity

# TFLite files of foreign .onnx classifiers: onnx2tf pins old versions of what the others need new.
foreign: $(FOREIGN)/ready
	$(FOREIGN)/bin/python -m pytest tests/converters/foreign/test_export.py

# Checkpoints as other libraries save them: Keras 2 with TensorFlow 2.15 (Python 3.9 to 3.11, 1.5 GB),
# and transformers, fastai, MONAI and Lightning beside the packages of the first environment (0.8 GB).
wild: $(WILD_KERAS)/ready $(WILD_TORCH)/ready
	$(WILD_KERAS)/bin/python -m pytest tests/wild/test_keras2.py
	$(WILD_TORCH)/bin/python -m pytest tests/wild/test_libraries.py

# Accelerators' own simulators and compilers on our files, each in an environment that the toolkit
# makes in EDGE_EFFNET_ENVIRONMENTS, here .venv-accelerators (up to 8 GB).
accelerators: $(DEV)/ready
	EDGE_EFFNET_ENVIRONMENTS=$${EDGE_EFFNET_ENVIRONMENTS-$(CURDIR)/.venv-accelerators} \
	    $(DEV)/bin/python -m pytest -rA tests/accelerators

# The part of it that CI runs: LiteRT's GPU accelerator on Chromium's software adapter.
accelerators-gpu: $(DEV)/ready
	$(DEV)/bin/python -m pytest -rA tests/accelerators/test_litert_gpu.py

# Ours against every vendor's quantizer: IMAGES and LABELS name a labelled photo set.
bench: $(DEV)/ready
	$(DEV)/bin/edge-effnet bench vendors --images "$(IMAGES)" --labels "$(LABELS)"

$(DEV)/ready: $(DECLARED) requirements/dev.lock
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python $(LOCKED)/dev.lock
	$(DEV)/bin/python $(THIS) '.[dev]'
	touch $@

$(DOCS)/ready: $(DECLARED) requirements/docs.lock
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python $(LOCKED)/docs.lock
	$(DOCS)/bin/python $(THIS) '.[docs]'
	touch $@

$(FOREIGN)/ready: setup.cfg pyproject.toml edge_effnet/version.py
	$(PYTHON) -m venv $(FOREIGN)
	$(FOREIGN)/bin/python -m pip install --quiet --disable-pip-version-check \
	    -e '.[onnx2tf]' hypothesis pytest pytest-timeout
	touch $@

$(WILD_KERAS)/ready: setup.cfg pyproject.toml edge_effnet/version.py
	$(PYTHON) -m venv $(WILD_KERAS)
	$(WILD_KERAS)/bin/python -m pip install --quiet --disable-pip-version-check \
	    -e '.[h5]' tensorflow-cpu==2.15.1 efficientnet==1.1.1 hypothesis pytest pytest-timeout
	touch $@

$(WILD_TORCH)/ready: $(DEV)/ready
	$(PYTHON) -m venv $(WILD_TORCH)
	$(DEV)/bin/python -c "import site; print(site.getsitepackages()[0])" \
	    > $$($(WILD_TORCH)/bin/python -c "import site; print(site.getsitepackages()[0])")/dev.pth
	$(WILD_TORCH)/bin/python -m pip install --quiet --disable-pip-version-check \
	    -c constraints.txt transformers fastai monai lightning omegaconf
	$(WILD_TORCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

$(DEMO)/ready: $(DECLARED) requirements/demo.lock
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python $(LOCKED)/demo.lock
	$(DEMO)/bin/python $(THIS) '.[demo]'
	touch $@

# The locks anew, within constraints.txt, for every platform; and the licences of what they name.
lock:
	$(PYTHON) -m venv $(LOCK)
	$(LOCK)/bin/python $(PIP) uv
	for extra in dev demo docs; do $(LOCK)/bin/uv pip compile --quiet setup.cfg requirements/build.in \
	    --extra $$extra --generate-hashes --universal --python-version 3.11 -c constraints.txt \
	    --no-header --no-annotate -o requirements/$$extra.lock || exit 1; done

licences: $(DEV)/ready
	$(DEV)/bin/python requirements/licences.py > requirements/LICENCES.md

clean:
	rm -rf $(LOCK) $(DEV) $(DEMO) $(FOREIGN) $(DOCS) $(WILD_KERAS) $(WILD_TORCH) .venv-client-* .venv-accelerators build dist report *.egg-info
