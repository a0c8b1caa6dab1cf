from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from operator import itemgetter
from pathlib import Path

import numpy as np
import pytest

from edge_effnet.benchmarks import compare
from edge_effnet.benchmarks.accuracy.evaluate import evaluate
from edge_effnet.benchmarks.pareto import pareto_front
from edge_effnet.benchmarks.records import (
    Host,
    Latency,
    OperatorTime,
    PhotoSet,
    Record,
    Results,
    read_results,
    write_results,
)
from edge_effnet.benchmarks.reporting import formatting, table
from edge_effnet.errors import MissingExtra, OutputError, UsageError
from support.colour_models import LABELS, labels_csv, model, photos, weights

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
from edge_effnet.benchmarks.reporting import page as report
from edge_effnet.benchmarks.reporting import plots

HOST = Host("A CPU <b>", "x86_64", 4, ("avx2", "avx512_vnni"), load=0.1)
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects tags and attributes; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "svg", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def record(form: str, precision: str, **figures: object) -> Record:
    suffix = {"tflite": "tflite", "onnx": "onnx", "openvino": "xml"}[form]
    base = Record(
        file=f"out/efficientnet-lite0-{precision}.{suffix}",
        variant="efficientnet-lite0",
        format=form,
        precision=precision,
        size_bytes=18_600_000 if precision == "fp32" else 4_900_000,
        images=1025,
        runtime="a runtime",
        runtime_version="1.0",
        kernels="fast ones",
    )
    return base.with_(**figures)


def timed(median: float) -> dict[str, object]:
    samples = tuple(round(median * (1 + 0.01 * place), 4) for place in range(-5, 6))
    latency = Latency(median, 1.04 * median, 1.05 * median, 0.95 * median, median)
    return {"latency_ms": latency, "samples_ms": samples, "threads": 1, "rounds": 2}


FP32 = record(
    "tflite", "fp32", top1=0.89, top1_ci=(0.87, 0.91), top5=0.97, top5_ci=(0.96, 0.98),
    agreement=1.0, drop=0.0, lost=0, gained=0, **timed(5.0),
)  # fmt: skip
FP32 = FP32.with_(reference=FP32.file)
INT8 = record(
    "tflite", "int8", quantizer="edge-effnet", top1=0.885, top1_ci=(0.865, 0.905), top5=0.97,
    top5_ci=(0.96, 0.98), agreement=0.991, agreement_ci=(0.983, 0.995), drop=0.5,
    drop_ci=(-0.3, 1.3), lost=9, gained=4, sqnr_db=22.2, reference=FP32.file, **timed(2.0),
)  # fmt: skip
WHOLE = Results(
    HOST, (FP32, INT8), PhotoSet("photos", 1025, True, "evaluation"), "2026-01-02T03:04:05+00:00"
)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    """A real comparison of three small files on labelled photos, two of them broken."""
    folder = tmp_path_factory.mktemp("compared")
    paths = photos(folder / "p")
    noisy = weights() + np.random.default_rng(5).normal(0, 1.5, weights().shape)
    (folder / "out").mkdir()
    model(folder / "out" / "efficientnet-lite0-fp32.onnx")
    model(folder / "out" / "efficientnet-lite0-fp16.onnx", precision="fp16")
    model(folder / "out" / "efficientnet-lite0-int8.onnx", noisy, precision="int8")
    (folder / "out" / "stray.xml").write_text("<xml/>")
    (folder / "out" / "notes.txt").write_text("")
    paths[3].write_bytes(b"broken")
    rows = [(path.name, str(index % 7)) for index, path in enumerate(paths)]
    found = compare.compare(
        [folder / "out"], folder / "p", labels_csv(folder / "l.csv", rows),
        out=folder / "report", runs=4,
    )  # fmt: skip
    return found, folder


def test_it_says_what_repeats_it(compared: tuple[Results, Path]) -> None:
    found, folder = compared
    assert found.command.startswith(f"edge-effnet compare {folder / 'out'} --images ")
    assert found.command in Page((folder / "report" / "report.html").read_text("utf-8")).text


def test_the_praised_file_is_marked_and_its_latency_leads(compared: tuple[Results, Path]) -> None:
    found, folder = compared
    page = Page((folder / "report" / "report.html").read_text("utf-8"))
    praised = formatting.gains(found.records)[0].record
    marked = [attrs for tag, attrs in page.tags if tag == "tr" and attrs.get("class") == "praised"]
    assert [attrs["data-title"] for attrs in marked] == ["ONNX int8"]
    assert praised.latency_ms is not None
    before_table = page.text[: page.text.index("Every file")]
    assert f"{formatting.milliseconds(praised.latency_ms.median)} ms" in before_table


def test_classes_confusion_and_photos_that_all_files_get_wrong(
    compared: tuple[Results, Path],
) -> None:
    _, folder = compared
    text = Page((folder / "report" / "report.html").read_text("utf-8")).text
    assert "Class by class" in text
    assert "What is taken for what" in text
    assert "are predicted wrongly by all 3 files" in text


def test_compare_writes_both_files(compared: tuple[Results, Path]) -> None:
    found, folder = compared
    assert sorted(path.name for path in (folder / "report").iterdir()) == [
        "report.html",
        "results.json",
    ]
    assert read_results(folder / "report" / "results.json") == found
    assert [item.precision for item in found.records] == ["fp32", "fp16", "int8"]
    for item in found.records:
        assert item.top1 is not None
        assert item.latency_ms is not None
        assert item.peak_rss_mb is not None
        assert item.images == 39
    assert found.photos is not None
    assert [name for name, _ in found.photos.broken] == ["photo003.png"]
    assert found.created.endswith("+00:00")


def test_the_page_is_whole_and_self_contained(compared: tuple[Results, Path]) -> None:
    found, folder = compared
    source = (folder / "report" / "report.html").read_text("utf-8")
    page = Page(source)
    assert not {"link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}]
    script = source.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in source
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/jpeg;base64,")
            assert len(attributes["src"] or "") < 60_000
            assert attributes["alt"]
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert "url(http" not in source
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for name in re.findall(r'(?:href="#|url\(#)([^")]+)', source):
        assert name in ids
    pictures = [a for tag, a in page.tags if tag == "svg" and a.get("role") == "img"]
    assert len(pictures) == 3
    for picture in pictures:
        assert set((picture["aria-labelledby"] or "").split()) <= set(ids)
    assert "#0101" not in source  # every colour became a variable
    assert "photo003.png" in page.text
    assert found.host.cpu in page.text


def test_the_page_is_the_same_every_time(compared: tuple[Results, Path]) -> None:
    found, folder = compared
    evaluation = evaluate(
        [item.file for item in found.records], folder / "p", folder / "l.csv", threads=1
    )
    first = report.render(found, evaluation)
    assert first == report.render(found, evaluation)
    assert first == (folder / "report" / "report.html").read_text("utf-8")


def test_examples_show_disagreements_first(compared: tuple[Results, Path]) -> None:
    found, folder = compared
    evaluation = evaluate(
        [item.file for item in found.records], folder / "p", folder / "l.csv", threads=1
    )
    shown = report.examples(evaluation, 8)
    assert len(shown) == len({example.name for example in shown}) == 8
    assert [example.differs for example in shown] == [True] * 5 + [False] * 3
    for example in shown:
        votes = [vote for predicted in example.predictions for vote in predicted.votes]
        assert sorted(vote.title for vote in votes) == ["ONNX fp16", "ONNX fp32", "ONNX int8"]
        number = [photo.name for photo in evaluation.photos].index(example.name)
        for predicted in example.predictions:
            assert predicted.right == (predicted.name == example.truth)
            for vote in predicted.votes:
                place = [item.file for item in evaluation.records].index(vote.record.file)
                best = evaluation.predictions[place].indices[number, 0]
                assert predicted.name == LABELS[best]
                assert vote.differs == (best != evaluation.predictions[0].indices[number, 0])
    assert report.examples(evaluation, 0) == []


def test_without_labels_there_is_agreement_only(tmp_path: Path) -> None:
    photos(tmp_path / "p", 6)
    noisy = weights() + np.random.default_rng(5).normal(0, 1.5, weights().shape)
    files = [model(tmp_path / "a.onnx"), model(tmp_path / "b.onnx", noisy, precision="int8")]
    evaluation = evaluate(files, tmp_path / "p", threads=1)
    found = Results(HOST, evaluation.records, evaluation.photo_set, "2026-01-02T03:04:05+00:00")
    text = Page(report.render(found, evaluation)).text
    assert "agreement" in text
    for word in ("top-1", "Top-1", "drop", "median", "None"):
        assert word not in text
    columns = [str(column.header) for column in table.render(found).columns]
    assert not [column for column in columns if "top" in column or "drop" in column]


@pytest.mark.parametrize(
    "found",
    [
        WHOLE,
        Results(HOST, WHOLE.records),
        Results(HOST, (FP32,), WHOLE.photos),
        Results(HOST, (INT8.with_(reference=None, agreement=None, drop=None, drop_ci=None),)),
        Results(HOST, (FP32.with_(**{**dict.fromkeys(("top1", "top1_ci", "agreement"))}),)),
        Results(HOST, (FP32, INT8.with_(latency_ms=None, samples_ms=(), error="crashed"))),
        Results(HOST, tuple(r.with_(latency_ms=None, samples_ms=()) for r in WHOLE.records)),
        Results(HOST, (*WHOLE.records, INT8.with_(file="x/b.onnx", variant="efficientnet-b0"))),
        Results(HOST, (INT8.with_(precision="unknown", format="unknown", variant="unknown"),)),
    ],
)
def test_whatever_was_measured_makes_a_page_and_a_table(found: Results) -> None:
    from rich.console import Console

    page = Page(report.render(found))
    assert "None" not in page.text
    assert "nan" not in page.text
    for width in (80, 120):
        console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        console.print(table.render(found, width=width))
        shown = console.export_text()
        assert "None" not in shown
        assert "…" not in re.sub(r"\d…", "", shown)  # nothing was cut off


def test_the_table_fits_a_terminal_of_80() -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table.render(WHOLE, width=80))
    text = console.export_text()
    for figure in ("88.5", "97.0", "99.1", "98.3–99.5", "0.5", "−0.3…1.3", "22.2", "2.00", "2.10"):  # noqa: RUF001
        assert figure in text


HOSTILE = '<script>alert(1)</script>"&$x_$ {{ 7*7 }}'


def test_everything_a_user_provides_is_escaped(tmp_path: Path) -> None:
    labels = (HOSTILE, *LABELS[1:])
    paths = photos(tmp_path / "p", 2)
    paths[0].rename(tmp_path / "p" / "<i>&.png")
    (tmp_path / "p" / "<b>broken.png").write_bytes(b"x")
    file = model(tmp_path / "<u>$a_$.onnx", np.zeros((3, 7)), labels=labels, variant=HOSTILE)
    twin = model(tmp_path / "<u>$b_$.onnx", weights(), labels=labels, variant=HOSTILE)
    evaluation = evaluate([file, twin], tmp_path / "p", threads=1)
    found = Results(
        HOST,
        tuple(
            item.with_(**timed(2.0), error="<em>" if "b_" in item.file else None)
            for item in evaluation.records
        ),
        evaluation.photo_set,
        "<hr>",
        "<blink>",
    )
    source = report.render(found, evaluation)
    page = Page(source)
    for bad in ("<script>alert", "<i>", "<b>broken", "<u>", "<em>", "<blink>", "<hr>", "A CPU <b>"):
        assert bad not in source
    assert HOSTILE in page.text
    assert "{{ 7*7 }}" in source
    assert "49" not in page.text.replace(HOSTILE, "").split("·")[0]
    from rich.console import Console

    Console(file=open("/dev/null", "w")).print(table.render(found, "[red]x[/blue]"))  # noqa: SIM115


def test_file_names_that_are_no_text(tmp_path: Path) -> None:
    odd = Results(HOST, (FP32.with_(file="out/\udcff.tflite"),))
    path = report.write(odd, tmp_path / "report.html")
    assert Page(path.read_text("utf-8"))
    assert read_results(write_results(odd, tmp_path / "r.json")) == odd


def test_thumbnails_carry_no_metadata(tmp_path: Path) -> None:
    import base64
    import io

    from PIL import Image

    picture = Image.new("RGB", (900, 600), (200, 30, 30))
    exif = picture.getexif()
    exif[0x010F] = "SECRET CAMERA"
    picture.save(tmp_path / "a.jpg", exif=exif, comment=b"SECRET PLACE")
    uri = report._thumbnail(tmp_path / "a.jpg")
    data = base64.b64decode(uri.split(",")[1])
    assert b"SECRET" not in data
    assert max(Image.open(io.BytesIO(data)).size) == report._THUMBNAIL


def test_headline_and_summary() -> None:
    assert formatting.headline(WHOLE) == (
        "int8 TFLite agrees with float32 on 99.1 % of the photos "
        "at 0.40× the time and 0.26× the size"  # noqa: RUF001
    )
    assert "0.5 points below float32: not significantly different from 0" in formatting.summary(
        INT8
    )
    worse = INT8.with_(drop=3.0, drop_ci=(2.0, 4.0))
    assert "significantly different from 0 on 1,025 photos" in formatting.summary(worse)
    better = INT8.with_(drop=-0.25, drop_ci=(-1.0, 0.5))
    assert "0.2 points above" in formatting.summary(better)
    assert "the same as float32" in formatting.summary(INT8.with_(drop=0.0))
    bare = INT8.with_(top1=None, drop=None, drop_ci=None)
    assert "photos without labels" in formatting.summary(bare)
    assert formatting.summary(FP32) == ""
    same = Results(HOST, (FP32, INT8.with_(agreement=1.0)))
    assert formatting.headline(same).startswith("int8 TFLite agrees with float32 on all 1,025 ph")
    assert formatting.headline(Results(HOST, (FP32,))) == "1 model file, measured side by side"


def test_the_front_holds_what_nothing_beats() -> None:
    points = [(5.0, 89.0), (2.0, 88.0), (3.0, 87.0), (2.0, 86.0), (9.0, 89.0)]
    assert pareto_front(points, itemgetter(0), itemgetter(1)) == [(2.0, 88.0), (5.0, 89.0)]


def test_operators_are_ranked_and_the_rest_is_one() -> None:
    many = tuple(OperatorTime(f"layer{place}", "Conv", float(place)) for place in range(1, 21))
    found = report.operators(INT8.with_(operators=many))
    assert found[0] == ("layer20", "Conv", 20.0, 20 / 210)
    assert found[-1] == ("5 others", "", 15.0, 15 / 210)
    assert sum(share for *_, share in found) == pytest.approx(1)
    text = Page(report.render(Results(HOST, (INT8.with_(operators=many),)))).text
    assert "20 operators" in text
    assert "layer20" in text


def test_the_headline_picks_the_fastest_and_its_own_runtime() -> None:
    onnx32, onnx8 = record("onnx", "fp32", **timed(10)), record("onnx", "int8", **timed(1.0))
    gain = formatting.gains((*WHOLE.records, onnx32, onnx8))[0]
    assert gain.record is onnx8
    assert gain.base is onnx32
    assert gain.time == pytest.approx(0.1)
    alone = formatting.gains((*WHOLE.records, onnx8))[0]
    assert alone.base is FP32


def test_the_page_speaks_of_the_fastest_file_and_names_formats() -> None:
    slower = INT8.with_(top1=None, drop=None, drop_ci=None)
    fastest = slower.with_(format="onnx", file="b.onnx", agreement_ci=(0.95, 0.98), **timed(1.0))
    text = Page(report.render(Results(HOST, (FP32, slower, fastest)))).text
    assert "(95 % interval: 95.0 – 98.0 %)" in text  # noqa: RUF001
    assert "Format(" not in text


def test_titles_are_distinct_and_short() -> None:
    assert formatting.titles(WHOLE.records) == ["TFLite fp32", "TFLite int8"]
    peer = INT8.with_(file="peers/efficientnet-lite0-int8.tflite", quantizer="tensorflow")
    assert formatting.titles([INT8, peer]) == ["TFLite int8 edge-effnet", "TFLite int8 tensorflow"]
    copy = INT8.with_(file="else/efficientnet-lite0-int8.tflite")
    assert len(set(formatting.titles([INT8, copy]))) == 2
    other = FP32.with_(variant="efficientnet-b0")
    assert formatting.titles([FP32, other]) == ["lite0 TFLite fp32", "b0 TFLite fp32"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0"), (-0.04, "0.0"), (-0.5, "−0.5"), (1.25, "1.2")],  # noqa: RUF001
)
def test_signed(value: float, text: str) -> None:
    assert formatting.signed(value) == text


def test_plots_hold_every_figure_and_are_stable() -> None:
    records = formatting.order(WHOLE.records)
    for draw in (plots.accuracy_against_latency, plots.losses, plots.latencies):
        svg = draw(records)
        assert svg == draw(records)
        assert svg.startswith("<svg")
        assert "var(--tflite)" in svg
        assert "TFLite int8" in svg
        assert draw([]) == ""
    assert "0.5 (−0.3 to 1.3)" in plots.losses(records)  # noqa: RUF001


def test_model_files(tmp_path: Path) -> None:
    for name in ("b.onnx", "a.xml", "a.bin", "c.TFLITE", "d.txt", "stray.xml"):
        (tmp_path / name).write_text("")
    found = compare.model_files(["x.onnx", tmp_path])
    assert found == ["x.onnx", *(str(tmp_path / n) for n in ("a.xml", "b.onnx", "c.TFLITE"))]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no model file"):
        compare.model_files([tmp_path / "empty"])


def test_an_unwritable_folder_is_found_before_measuring(tmp_path: Path) -> None:
    photos(tmp_path / "p", 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        compare.compare([tmp_path / "none.onnx"], tmp_path / "p", out=tmp_path / "file" / "r")


def test_a_missing_extra_is_named_before_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r".*\[report\]"):
        compare.compare([tmp_path / "none.onnx"], tmp_path / "p", out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_imports_are_light() -> None:
    code = (
        "import sys, edge_effnet.benchmarks; light = set(sys.modules);"
        "import edge_effnet.benchmarks.compare, edge_effnet.benchmarks.reporting.table;"
        "heavy = {'matplotlib', 'jinja2', 'onnxruntime', 'openvino', 'ai_edge_litert', 'rich'};"
        "assert 'numpy' not in light; assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
