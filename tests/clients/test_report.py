"""The report in a real browser: no errors, its controls work by keyboard, it prints."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.browser import PHONE, Watched, chromium, opened
from edge_effnet.benchmarks.records import Host, Latency, OperatorTime, PhotoSet, Record, Results
from edge_effnet.benchmarks.reporting import page as report


def record(form: str, precision: str, top1: float, median: float, **more: object) -> Record:
    samples = tuple(median * (1 + 0.01 * place) for place in range(-5, 6))
    return Record(
        file=f"out/efficientnet-lite0-{precision}.{form}",
        variant="efficientnet-lite0",
        format=form,
        precision=precision,
        size_bytes=4_900_000 if precision == "int8" else 18_600_000,
        images=1000,
        top1=top1,
        top1_ci=(top1 - 0.02, top1 + 0.02),
        latency_ms=Latency(median, median * 1.1, median * 1.2, median * 0.9, median),
        samples_ms=samples,
        threads=1,
        rounds=2,
    ).with_(**more)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    operators = tuple(OperatorTime(f"stages.{n}.conv", "Conv", 0.1 * n) for n in range(1, 21))
    records = (
        record("tflite", "fp32", 0.838, 5.0),
        record("tflite", "int8", 0.836, 2.0),
        record("onnx", "int8", 0.830, 1.5, operators=operators),
        record("onnx", "fp32", 0.838, 9.0).with_(latency_ms=None, samples_ms=(), error="crashed"),
    )
    found = Results(
        Host("A CPU", "x86_64", 4), records, PhotoSet("photos", 1000, True), created="2026"
    )
    return report.write(found, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def watched(page: Path) -> Iterator[Watched]:
    with opened(chromium(), permissions=()) as found:
        found.page.goto(page.as_uri())
        yield found


def titles(watched: Watched) -> list[str]:
    rows = watched.page.query_selector_all("tbody tr")
    return [row.get_attribute("data-title") for row in rows]


def test_it_loads_nothing_and_says_nothing(watched: Watched, page: Path) -> None:
    assert watched.errors == []
    assert [asked for asked in watched.requests if asked.startswith("http")] == []


def test_the_table_sorts_by_keyboard(watched: Watched) -> None:
    header = 'th[data-sort="median"]'
    watched.page.focus(f"{header} button")
    watched.page.keyboard.press("Enter")
    assert watched.page.get_attribute(header, "aria-sort") == "ascending"
    assert titles(watched) == ["ONNX int8", "TFLite int8", "TFLite fp32", "ONNX fp32"]
    watched.page.keyboard.press("Enter")
    assert watched.page.get_attribute(header, "aria-sort") == "descending"
    assert titles(watched) == ["TFLite fp32", "TFLite int8", "ONNX int8", "ONNX fp32"]


def test_the_budget_moves_and_chooses(watched: Watched) -> None:
    assert "TFLite fp32, 83.8 % at 5.00 ms" in watched.text("#choice")
    watched.page.fill("#limit", "2.5")
    assert "Best within 2.50 ms: TFLite int8, 83.6 %" in watched.text("#choice")
    assert watched.page.get_attribute("tr.chosen", "data-title") == "TFLite int8"
    line = "#budget-line"
    before = float(watched.page.get_attribute(line, "x1"))
    watched.page.focus("#limit")
    for _ in range(60):
        watched.page.keyboard.press("ArrowLeft")
    assert float(watched.page.get_attribute(line, "x1")) < before
    assert "ONNX int8" in watched.text("#choice")
    watched.page.keyboard.press("Home")
    assert "Nothing runs within" in watched.text("#choice")
    assert "The nearest: ONNX int8" in watched.text("#choice")
    # The line stands where the plot has the value.
    watched.page.fill("#limit", "5")
    x = watched.page.eval_on_selector(line, "line => line.getBoundingClientRect().x")
    dots = watched.page.eval_on_selector_all(
        "#scatter use", "all => all.map((use) => { const b = use.getBoundingClientRect();"
        " return b.x + b.width / 2; })",
    )  # fmt: skip
    assert min(abs(x - dot) for dot in dots) < 1.5


def test_the_praised_file_is_marked_until_a_budget_chooses(watched: Watched) -> None:
    page = watched.page
    before = page.viewport_size
    page.set_viewport_size(PHONE)
    page.reload()
    assert page.get_attribute("tr.praised", "data-title") == "ONNX int8"
    box = page.query_selector(".tiles .praised em").bounding_box()
    assert box["y"] + box["height"] < PHONE["height"]
    assert watched.text(".tiles .praised em").startswith("1.50")
    page.fill("#limit", "2.5")
    assert page.query_selector("tr.praised") is None
    page.set_viewport_size(before)


def test_the_copy_buttons_fill_the_clipboard(watched: Watched) -> None:
    """Where the browser allows it: the table in the order on the page, and the button says so."""
    watched.context.grant_permissions(["clipboard-read", "clipboard-write"])
    watched.page.click('th[data-sort="median"] button')
    order = titles(watched)
    for kind, row in (("CSV", "TFLite int8,83.6,"), ("Markdown", "| TFLite int8 | 83.6 |")):
        watched.page.click(f"text=Copy as {kind}")
        watched.page.wait_for_selector("#copy button:has-text('Copied')")
        lines = watched.page.evaluate("navigator.clipboard.readText()").splitlines()[-len(order) :]
        assert all(title in line for title, line in zip(order, lines, strict=True))
        assert sum(line.startswith(row) for line in lines) == 1
        assert watched.page.locator("#copy textarea").count() == 0
        watched.page.wait_for_selector(f"#copy button:has-text('Copy as {kind}')")
    assert not watched.errors


def test_the_table_is_copied(watched: Watched) -> None:
    """Without a clipboard the text stands in a field."""
    watched.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    texts = []
    for kind in ("CSV", "Markdown"):
        watched.page.click(f"text=Copy as {kind}")
        texts.append(watched.page.input_value("#copy textarea").splitlines())
    lines, markdown = texts
    rows = list(csv.reader(lines))
    assert rows[0][:3] == ["File", "top-1", "MB"]
    assert rows[0][-1] == "peak, MiB"
    assert rows[2][:2] == ["TFLite int8", "83.6"]
    assert len({len(row) for row in rows}) == 1
    assert markdown[0].startswith("| File | top-1 |")
    assert markdown[3].startswith("| TFLite int8 | 83.6 |")
    assert len({line.count("|") for line in markdown}) == 1


def test_it_prints_and_fits_a_phone(watched: Watched, tmp_path: Path) -> None:
    watched.page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    watched.page.emulate_media(media="print")
    assert not watched.page.is_visible("#limit")
    watched.page.set_viewport_size({"width": 696, "height": 1000})  # A4 within the margins
    edges = watched.page.evaluate(
        "[Math.max(...[...document.querySelectorAll('figure svg text')].map("
        "(text) => text.getBoundingClientRect().right)), document.documentElement.clientWidth]"
    )
    assert edges[0] <= edges[1], "a plot's text is cut at the paper's edge"
    assert watched.page.eval_on_selector("dl", "list => getComputedStyle(list).breakInside") == (
        "avoid"
    )
    watched.page.emulate_media(media="screen")
    watched.page.set_viewport_size(PHONE)
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert watched.page.is_visible("#limit")
    assert "20 operators" in watched.text("details")
    assert watched.errors == []
