"""The public face: names, Literals, one-line reprs, warnings, progress, option validation."""

from __future__ import annotations

import inspect
import io
import sys
import types
import warnings
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import edge_effnet
from edge_effnet import names
from edge_effnet.benchmarks.records import Host, Latency, PhotoSet, Record, Results
from edge_effnet.calibration.plan import LayerPlan
from edge_effnet.calibration.recipes import RECIPES
from edge_effnet.card import IOS, PRECISIONS, CalibrationRecord, Quantization
from edge_effnet.converters.options import OURS, ExportOptions
from edge_effnet.converters.vendors import VENDORS
from edge_effnet.errors import ImageError, UsageError
from edge_effnet.formats import FORMATS, RUNNABLE
from edge_effnet.progress import bars, reporting
from support import tflite_models as small

VERBS = ("analyze", "benchmark", "calibrate", "compare", "evaluate", "export", "load", "open")


def test_the_public_names_are_all_there() -> None:
    assert dir(edge_effnet) == sorted(edge_effnet.__all__)
    for verb in (*VERBS, "save", "get_variant", "list_variants"):
        value = getattr(edge_effnet, verb)
        assert verb in edge_effnet.__all__
        assert inspect.isfunction(value)
        assert (value.__doc__ or "").splitlines()[0].endswith(".")
    assert Path(edge_effnet.__file__).with_name("py.typed").is_file()


def test_variants_are_listed_by_name() -> None:
    assert edge_effnet.list_variants("lite*") == [f"efficientnet-lite{n}" for n in range(5)]
    assert edge_effnet.list_variants("*V2-B?") == [f"efficientnetv2-b{n}" for n in range(4)]
    assert not edge_effnet.list_variants("resnet*")
    for name in edge_effnet.list_variants():
        assert edge_effnet.get_variant(name).name == name


@pytest.mark.parametrize(
    ("literal", "registry"),
    [
        (names.FormatName, FORMATS),
        (names.RunnableFormat, RUNNABLE),
        (names.Precision, PRECISIONS),
        (names.RecipeName, RECIPES),
        (names.QuantizerName, (OURS, *VENDORS)),
        (names.IO, IOS),
    ],
)
def test_literals_equal_the_registries(literal: Any, registry: Any) -> None:
    assert get_args(literal) == tuple(registry)


# Literals in a signature are what editors complete; their defaults must be among them.
@pytest.mark.parametrize(
    ("verb", "names"),
    [
        ("export", ["recipe", "quantizer", "io"]),
        ("calibrate", ["recipe"]),
        ("analyze", ["format", "recipe"]),
    ],
)
def test_defaults_are_valid(verb: str, names: list[str]) -> None:
    known = {"recipe": RECIPES, "quantizer": (OURS, *VENDORS), "io": IOS, "format": RUNNABLE}
    parameters = inspect.signature(getattr(edge_effnet, verb)).parameters
    for name in names:
        assert parameters[name].default in known[name]


def test_reprs_take_one_line() -> None:
    model = edge_effnet.load("lite0", weights="random")
    record = Record("out/a.onnx", "efficientnet-lite0", "onnx", "int8", size_bytes=5_300_000,
                    top1=0.885, agreement=0.984, latency_ms=Latency(2.8, 3, 3, 2, 2.9),
                    samples_ms=(1.0,) * 1000)  # fmt: skip
    layer = LayerPlan(np.ones((8, 4, 3, 3), np.int8), np.ones(8, np.float32) * 0.1,
                      np.zeros(8, np.int32))  # fmt: skip
    manifest = tuple((f"{n}.jpg", "0" * 64) for n in range(1000))
    quantization = Quantization(OURS, "default", CalibrationRecord(1000, 1000, "0" * 64, manifest))
    results = Results(Host("a cpu"), (record,), PhotoSet("photos", 1200, True))
    texts = [repr(each) for each in (
        model, model.info, model.info.card(), model.info.preprocess, model.variant, record, layer,
        quantization, results,
    )]  # fmt: skip
    for text in texts:
        assert "\n" not in text
        assert len(text) < 300, text
    assert repr(record) == "Record(a.onnx, top-1 88.5%, agreement 98.4%, 2.80 ms, 5.30 MB)"
    assert repr(results) == "Results(1 files on 1,200 photos, a cpu)"
    assert list(results) == [record]


def test_the_reprs_of_quantized_and_opened_models(tmp_path: Path) -> None:
    model = small.model_of(small.LITE)
    quantized = edge_effnet.calibrate(model, recipe="fast", notify=lambda text: None)
    (path,) = edge_effnet.export(quantized, formats="tflite", precisions="int8", out=tmp_path,
                                 notify=lambda text: None)  # fmt: skip
    for each in (quantized, quantized.plan, edge_effnet.open(path, threads=1)):
        assert "\n" not in repr(each)
        assert len(repr(each)) < 250 + len(str(path)), each
    assert str(path) in repr(edge_effnet.open(path, threads=1))


def warned_lines(call: Any) -> list[tuple[str, int]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert caught
    return [(each.filename, each.lineno) for each in caught if each.category is UserWarning]


def test_warnings_point_at_the_callers_line(tmp_path: Path) -> None:
    """Through verbs at different depths of the package."""
    model = small.model_of(small.LITE)
    photos = tmp_path / "photos"
    photos.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(photos / "a.png")

    def here() -> int:
        frame = inspect.currentframe()
        assert frame is not None
        assert frame.f_back is not None
        return frame.f_back.f_lineno

    line: int

    def calibrate() -> None:
        nonlocal line
        line = here() + 1
        edge_effnet.calibrate(model, photos)

    def export() -> None:
        nonlocal line
        line = here() + 1
        edge_effnet.export(
            model, formats=["onnx"], precisions=["int8"], recipe="fast", out=tmp_path
        )

    def load() -> None:
        nonlocal line
        line = here() + 1
        edge_effnet.load("lite0", classes=3)

    for call in (calibrate, export, load):
        assert set(warned_lines(call)) == {(__file__, line)}


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_silent_in_pipes_and_drawn_on_terminals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for stream, drawn in ((io.StringIO(), False), (_Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("TERM", "xterm")
        with bars() as report:
            for done in range(3):
                report("quantize", done + 1, 3)
        assert ("quantize" in stream.getvalue()) is drawn
    with reporting(False) as report:
        report("quantize", 1, 1)
    told: list[tuple[str, int, int]] = []
    with reporting(lambda *step: told.append(step)) as report:
        report("quantize", 1, 1)
    assert told == [("quantize", 1, 1)]


def test_progress_in_a_notebook_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls of IPython that a kernel's front end draws (docs: IPython.display.display)."""
    shown: list[str] = []

    class Handle:
        def update(self, content: dict[str, str], raw: bool) -> None:
            assert raw
            shown.append(content["text/plain"])

    def display(content: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        assert not shown
        shown.append(content["text/plain"])
        return Handle()

    shell = types.SimpleNamespace(kernel=object())
    root = types.ModuleType("IPython")
    root.get_ipython = lambda: shell  # type: ignore[attr-defined]
    inner = types.ModuleType("IPython.display")
    inner.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", root)
    monkeypatch.setitem(sys.modules, "IPython.display", inner)
    with bars() as report:
        for done in range(1, 1001):
            report("quantize", done, 1000)
    assert shown[0].startswith("quantize ")
    assert shown[-2].endswith("1000/1000")
    assert shown[-1].startswith("done in ")
    assert len(shown) < 100  # a front end must not drown in updates


NAMES = st.sampled_from(["nonsense", "", "INT8", "int 8", "onnx ", "best!"])
FORMAT_LISTS = st.lists(st.sampled_from([*FORMATS]), min_size=1, unique=True)
PRECISION_LISTS = st.lists(st.sampled_from(PRECISIONS), min_size=1, unique=True)


@settings(max_examples=200)
@given(formats=FORMAT_LISTS, precisions=PRECISION_LISTS, wrong=NAMES, data=st.data())
def test_no_choice_hides_a_wrong_name(
    formats: list[str], precisions: list[str], wrong: str, data: st.DataObject
) -> None:
    """Whatever is exported, each option is validated."""
    options: dict[str, Any] = {"formats": formats, "precisions": precisions}
    name = data.draw(st.sampled_from(["formats", "precisions", "recipe", "quantizer", "io"]))
    options[name] = [*options[name], wrong] if name in options else wrong
    with pytest.raises(UsageError, match="unknown"):
        ExportOptions.create(**options)


@settings(max_examples=300)
@given(
    formats=FORMAT_LISTS,
    precisions=PRECISION_LISTS,
    quantizer=st.sampled_from([OURS, *VENDORS]),
    io=st.sampled_from(IOS),
    per_tensor=st.booleans(),
    max_drop=st.sampled_from([None, 0.5]),
)
def test_an_accepted_option_has_an_effect(
    formats: list[str],
    precisions: list[str],
    quantizer: str,
    io: str,
    per_tensor: bool,
    max_drop: float | None,
) -> None:
    """What differs from the default either changes an int8 or mixed file or is refused."""
    try:
        options = ExportOptions.create(
            formats, precisions, quantizer=quantizer, io=io, per_tensor=per_tensor,
            max_drop=max_drop,
        )  # fmt: skip
    except UsageError:
        return
    if quantizer != OURS or io != "uint8" or per_tensor or max_drop is not None:
        assert {"int8", "mixed"} & {*options.quantized}
        assert options.runnable
    if quantizer != OURS:
        assert options.runnable == (VENDORS[quantizer].format,)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"formats": ["ncnn"], "quantizer": "nonsense"}, "unknown quantizer 'nonsense'"),
        ({"formats": ["ncnn"], "quantizer": "nncf"}, "writes openvino files only"),
        ({"formats": ["ncnn"], "precisions": ["fp32"], "quantizer": "nncf"}, "writes int8 files"),
        ({"formats": ["ncnn"], "precisions": ["fp32"], "recipe": "nonsense"}, "unknown recipe"),
        ({"precisions": ["fp32"], "threads": -1}, "-1 threads"),
        ({"precisions": ["int8"], "max_drop": float("inf")}, "is not a valid limit"),
    ],
)
def test_export_refuses_what_it_would_ignore(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    model = edge_effnet.load("lite0", weights="random")
    with pytest.raises(UsageError, match=said):
        edge_effnet.export(model, out=tmp_path / "out", **changes)
    with pytest.raises(ImageError, match="does not exist"):
        edge_effnet.export(model, precisions=["fp32"], calibration=tmp_path / "typo", out=tmp_path)
    assert not (tmp_path / "out").exists()
