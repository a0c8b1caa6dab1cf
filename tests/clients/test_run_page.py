"""The page of a training run in a real browser: it loads nothing, fits a phone, and prints."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from clients.browser import PHONE, SCREEN, chromium, opened
from edge_effnet.apps.training.run_page.page import write_page
from support.training_runs import colour_run

LONG = "Gewöhnliche Wiesen-Margerite (Leucanthemum vulgare), mehrjährig"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("classes", [("rose", LONG, "W" * 60), tuple(map(str, range(40)))])
def test_it_fits_a_phone_and_prints(classes: tuple[str, ...], scheme: str, tmp_path: Path) -> None:
    path = write_page(colour_run(tmp_path, classes, wrong=2, noise=60.0))
    with opened(chromium(), permissions=(), color_scheme=scheme) as watched:
        for viewport in (SCREEN, PHONE):
            watched.page.set_viewport_size(viewport)
            watched.page.goto(path.as_uri())
            for summary in watched.page.query_selector_all("summary"):
                summary.click()
            width = watched.page.evaluate("document.documentElement.scrollWidth")
            assert width <= viewport["width"]
            assert not watched.page.evaluate(
                "[...document.images].filter((image) => !image.naturalWidth).length"
            )
        assert "correctly" in watched.text("h1")
        watched.page.pdf(path=tmp_path / "page.pdf", format="A4")
        assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
        assert watched.errors == []
        assert [asked for asked in watched.requests if asked.startswith("http")] == []


def test_headings_nest_and_regions_scroll_by_keyboard(tmp_path: Path) -> None:
    path = write_page(colour_run(tmp_path, wrong=2, noise=60.0))
    with opened(chromium(), permissions=()) as watched:
        watched.page.goto(path.as_uri())
        for region in watched.page.query_selector_all(".scroll"):
            assert region.get_attribute("role") == "region"
            assert region.get_attribute("aria-label")
            assert region.get_attribute("tabindex") == "0"
        headings = watched.page.eval_on_selector_all(
            "h1, h2, h3", "all => all.map((heading) => Number(heading.tagName[1]))"
        )
        assert headings[0] == 1
        steps = itertools.pairwise(headings)
        assert all(after - before <= 1 for before, after in steps)


def test_names_of_classes_stay_whole_on_a_phone(tmp_path: Path) -> None:
    path = write_page(colour_run(tmp_path, ("dandelion", "sunflowers", "rose"), noise=60.0))
    with opened(chromium(), permissions=()) as watched:
        watched.page.set_viewport_size(PHONE)
        watched.page.goto(path.as_uri())
        lines = watched.page.eval_on_selector_all(
            ".bars tbody th",
            """all => all.map((cell) => {
                const range = document.createRange();
                range.selectNodeContents(cell);
                return range.getClientRects().length;
            })""",
        )
        assert lines == [1, 1, 1]
