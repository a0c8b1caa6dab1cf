# Every target makes the environment it needs from a bare Python 3.11.
PYTHON ?= python3.11
DEV := .venv
DEMO := .venv-demo
DOCS := .venv-docs
FOREIGN := .venv-foreign
WILD_KERAS := .venv-wild-keras
WILD_TORCH := .venv-wild-torch
INSTALL := -m pip install --quiet --disable-pip-version-check -c constraints.txt
DECLARED := setup.cfg pyproject.toml constraints.txt edge_effnet/version.py

.PHONY: demo test quick exhaustive check types docs parity bench pi clients foreign wild clean

demo: $(DEMO)/ready
	$(DEMO)/bin/edge-effnet demo --out report

# Two files of tests at a time: most tests keep one core busy.
test: $(DEV)/ready
	$(DEV)/bin/python -m pytest -n 2 --dist loadfile -m "not exhaustive"

quick: $(DEV)/ready
	$(DEV)/bin/python -m pytest -n 2 --dist loadfile -m "not slow and not exhaustive"

# What repeats a test on more networks, precisions or photos.
exhaustive: $(DEV)/ready
	$(DEV)/bin/python -m pytest -n 2 --dist loadfile -m exhaustive

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
	$(DEV)/bin/python -m pytest -n 2 --dist load tests/parity

# TFLite files of foreign .onnx classifiers: onnx2tf pins old versions of what the others need new.
foreign: $(FOREIGN)/ready
	$(FOREIGN)/bin/python -m pytest tests/converters/foreign/test_export.py

# Checkpoints as other libraries save them: Keras 2 with TensorFlow 2.15 (Python 3.9 to 3.11, 1.5 GB),
# and transformers, fastai, MONAI and Lightning beside the packages of the first environment (0.8 GB).
wild: $(WILD_KERAS)/ready $(WILD_TORCH)/ready
	$(WILD_KERAS)/bin/python -m pytest tests/wild/test_keras2.py
	$(WILD_TORCH)/bin/python -m pytest tests/wild/test_libraries.py

# Ours against every vendor's quantizer: IMAGES and LABELS name a labelled photo set.
bench: $(DEV)/ready
	$(DEV)/bin/edge-effnet bench vendors --images "$(IMAGES)" --labels "$(LABELS)"

$(DEV)/ready: $(DECLARED)
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python $(INSTALL) -e '.[dev]'
	touch $@

$(DOCS)/ready: $(DECLARED)
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python $(INSTALL) -e '.[docs]'
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

$(DEMO)/ready: $(DECLARED)
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python $(INSTALL) -e '.[demo]'
	touch $@

clean:
	rm -rf $(DEV) $(DEMO) $(FOREIGN) $(DOCS) $(WILD_KERAS) $(WILD_TORCH) .venv-client-* build dist report *.egg-info
