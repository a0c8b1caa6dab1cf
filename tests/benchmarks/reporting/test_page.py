"""The HTML page: whole, self-contained, reproducible, and safe whatever a user provides."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_effnet.benchmarks import compare
from edge_effnet.benchmarks.accuracy.evaluate import evaluate
from edge_effnet.benchmarks.records import OperatorTime, Results, read_results, write_results
from edge_effnet.benchmarks.reporting import formatting, table
from support.colour_models import LABELS, labels_csv, model, photos, weights
from support.html_page import Page
from support.result_records import FP32, HOST, INT8, WHOLE, record, timed

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
from edge_effnet.benchmarks.reporting import page as report
from edge_effnet.benchmarks.reporting import plots
from edge_effnet.benchmarks.reporting.html import THUMBNAIL, thumbnail


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
    uri = thumbnail(tmp_path / "a.jpg")
    data = base64.b64decode(uri.split(",")[1])
    assert b"SECRET" not in data
    assert max(Image.open(io.BytesIO(data)).size) == THUMBNAIL


def test_operators_are_ranked_and_the_rest_is_one() -> None:
    many = tuple(OperatorTime(f"layer{place}", "Conv", float(place)) for place in range(1, 21))
    found = report.operators(INT8.with_(operators=many))
    assert found[0] == ("layer20", "Conv", 20.0, 20 / 210)
    assert found[-1] == ("5 others", "", 15.0, 15 / 210)
    assert sum(share for *_, share in found) == pytest.approx(1)
    text = Page(report.render(Results(HOST, (INT8.with_(operators=many),)))).text
    assert "20 operators" in text
    assert "layer20" in text


def test_the_page_speaks_of_the_fastest_file_and_names_formats() -> None:
    slower = INT8.with_(top1=None, drop=None, drop_ci=None)
    fastest = slower.with_(format="onnx", file="b.onnx", agreement_ci=(0.95, 0.98), **timed(1.0))
    text = Page(report.render(Results(HOST, (FP32, slower, fastest)))).text
    assert "(95 % interval: 95.0 – 98.0 %)" in text  # noqa: RUF001
    assert "Format(" not in text


def test_plots_show_a_bounded_number_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report.plots, "MOST_FILES", 3)
    files = [INT8.with_(file=f"{number}.onnx", **timed(1.0 + number)) for number in range(5)]
    text = Page(report.render(Results(HOST, (FP32, *files)))).text
    assert "The plots show the first 3 of 6 files." in text
    assert "The plots show" not in Page(report.render(Results(HOST, (FP32, *files[:2])))).text


@pytest.mark.parametrize(
    ("features", "median", "explained"),
    [
        (("avx2", "fma"), 5.1, True),
        (("avx2", "fma"), 2.0, False),
        (("avx2", "avx512_vnni"), 5.1, False),
        ((), 5.1, False),  # unknown
    ],
)
def test_int8_that_gains_little_without_dot_products_is_explained(
    features: tuple[str, ...], median: float, explained: bool
) -> None:
    results = replace(
        WHOLE,
        host=replace(HOST, features=features),
        records=(FP32, INT8.with_(**timed(median))),
    )
    text = Page(report.render(results)).text
    reason = "TFLite int8: int8 saves little time here, because this processor has no 8-bit dot"
    assert (reason in text) == explained


def test_every_precision_has_its_own_mark_in_the_legend() -> None:
    precisions = tuple(plots.MARKERS)
    records = tuple(
        record("tflite", precision, top1=0.8, **timed(5.0 + index))
        for index, precision in enumerate(precisions)
    )
    source = report.render(replace(WHOLE, records=records))
    legend = source.split('<ul class="legend">')[1].split("</ul>")[0]
    marks = re.findall(r'<svg class="mark shape"[^>]*>(.*?)</svg>', legend, re.DOTALL)
    assert len(marks) == len(set(marks)) == len(precisions)
