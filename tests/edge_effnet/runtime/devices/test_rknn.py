"""The Runner of .rknn files, over a module with the API of rknn-toolkit-lite2."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import edge_effnet
from edge_effnet.card import ModelCard
from edge_effnet.errors import DeviceError, MissingExtra, ModelFileError, UsageError
from support import tflite_models as small

CLASSES = 10


class Board:
    """RKNNLite as documented: steps return 0, or a code below 0; `inference` a list of arrays."""

    NPU_CORE_AUTO, NPU_CORE_0, NPU_CORE_1, NPU_CORE_2, NPU_CORE_ALL = 0, 1, 2, 4, 0xFFFF
    codes: ClassVar[dict[str, int]] = {}
    calls: ClassVar[list[object]] = []
    stops = False

    def load_rknn(self, path: str) -> int:
        self.calls.append(("load_rknn", path))
        return self.codes.get("load_rknn", 0)

    def init_runtime(self, core_mask: int = NPU_CORE_AUTO) -> int:
        self.calls.append(("init_runtime", core_mask))
        return self.codes.get("init_runtime", 0)

    def inference(
        self, inputs: list[np.ndarray], data_format: str | None = None
    ) -> list[np.ndarray] | None:
        (image,) = inputs
        assert (image.dtype, image.shape) == (np.uint8, (1, small.SIDE, small.SIDE, 3))
        assert image.flags.c_contiguous
        if self.stops:
            return None
        return [np.full((1, CLASSES), image.mean(), np.float32)]

    def release(self) -> None:
        self.calls.append("release")


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> type[Board]:
    package, api = types.ModuleType("rknnlite"), types.ModuleType("rknnlite.api")
    api.RKNNLite = Board  # type: ignore[attr-defined]
    package.api = api  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rknnlite", package)
    monkeypatch.setitem(sys.modules, "rknnlite.api", api)
    monkeypatch.setattr(Board, "codes", {})
    monkeypatch.setattr(Board, "calls", [])
    return Board


@pytest.fixture
def file(tmp_path: Path) -> Path:
    model = small.model_of(small.LITE)
    card = model.info.card(precision="int8", input="pixels")
    (tmp_path / "tiny-int8.rknn.json").write_text(card.to_json())
    path = tmp_path / "tiny-int8.rk3588.rknn"
    path.write_bytes(b"RKNN")
    return path


def test_pixels_become_logits(board: type[Board], file: Path) -> None:
    classify = edge_effnet.open(file)
    (pixels,) = small.photos(1)
    np.testing.assert_allclose(classify.logits_of_batch([pixels]), pixels.mean(), rtol=1e-6)
    assert isinstance(classify.card, ModelCard)
    assert classify.runner.info.device == "npu"
    assert board.calls == [("load_rknn", str(file)), ("init_runtime", board.NPU_CORE_AUTO)]
    with pytest.raises(DeviceError, match="does not report where"):
        classify.runner.placement()


def test_a_core_can_be_chosen(board: type[Board], file: Path) -> None:
    edge_effnet.open(file, device="npu", device_options={"core": "2"})
    assert board.calls[-1] == ("init_runtime", board.NPU_CORE_2)


@pytest.mark.parametrize("step", ["load_rknn", "init_runtime"])
def test_a_step_that_fails_is_named(step: str, board: type[Board], file: Path) -> None:
    board.codes[step] = -1
    with pytest.raises(DeviceError, match=f"{step} returned -1"):
        edge_effnet.open(file)
    assert board.calls[-1] == "release"


def test_a_driver_that_stops_is_an_error(
    board: type[Board], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classify = edge_effnet.open(file)
    monkeypatch.setattr(board, "stops", True)
    with pytest.raises(DeviceError, match="stopped running"):
        classify.logits_of_batch(small.photos(1))


def test_wrong_options_are_refused(board: type[Board], file: Path) -> None:
    with pytest.raises(UsageError, match="no option 'speed'; it has core"):
        edge_effnet.open(file, device_options={"speed": "high"})
    with pytest.raises(UsageError, match="no core '3'; choose from auto, 0, 1, 2, all"):
        edge_effnet.open(file, device_options={"core": "3"})
    with pytest.raises(UsageError, match="cannot run on 'gpu'"):
        edge_effnet.open(file, device="gpu")
    assert not board.calls


def test_without_its_card_a_file_is_refused(board: type[Board], file: Path) -> None:
    card = file.with_name("tiny-int8.rknn.json")
    card.write_text("{}")
    with pytest.raises(ModelFileError):
        edge_effnet.open(file)
    card.unlink()
    with pytest.raises(ModelFileError, match=r"tiny-int8\.rknn\.json is missing; copy it"):
        edge_effnet.open(file)
    with pytest.raises(ModelFileError):
        edge_effnet.open(file.with_name("other.rk3588.rknn"))


def test_elsewhere_the_package_is_named(file: Path) -> None:
    with pytest.raises(MissingExtra, match="pip install rknn-toolkit-lite2"):
        edge_effnet.open(file)
