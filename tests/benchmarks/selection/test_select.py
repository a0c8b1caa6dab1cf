from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet.benchmarks.records import Host, Latency, Record, Results
from edge_effnet.benchmarks.selection.explain import explain
from edge_effnet.benchmarks.selection.select import Limits, select
from edge_effnet.errors import UsageError
from support.command import call, done, finding, refused


def record(file: str = "a.tflite", ms: float = 2.0, top1: float | None = 0.75, **more: object):
    facts: dict[str, object] = {
        "variant": "efficientnet-lite0", "format": "tflite", "precision": "int8", "threads": 1,
        "size_bytes": 5_000_000, "drop": 0.5, "peak_rss_mb": 50.0, **more,
    }  # fmt: skip
    latency = Latency(ms, ms * 1.2, ms * 1.5, ms * 0.9, ms)
    return Record(file, top1=top1, latency_ms=latency, **facts)  # type: ignore[arg-type]


LADDER = (
    record(),
    record("b.tflite", 4.0, 0.77, size_bytes=6_000_000, drop=0.9, peak_rss_mb=60.0),
    record("c.tflite", 4.5, 0.76),
    record("d.tflite", 9.0, 0.79, precision="fp32", drop=None, size_bytes=26_000_000),
)


def choice(records: tuple[Record, ...], **limits: float) -> str | None:
    found = select(records, Limits(**limits)).choice  # type: ignore[arg-type]
    return found and found.record.file


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"budget_ms": 5}, "b.tflite"),
        ({"budget_ms": 4.0}, "b.tflite"),
        ({"budget_ms": 3.99}, "a.tflite"),
        ({"budget_ms": 4.6, "metric": "p90"}, "a.tflite"),
        ({"budget_ms": 100}, "d.tflite"),
        ({"budget_ms": 100, "max_size_mb": 6}, "b.tflite"),
        ({"budget_ms": 5, "max_drop": 0.6}, "c.tflite"),
        ({"budget_ms": 100, "max_rss_mb": 55, "max_size_mb": 10}, "c.tflite"),
        ({"budget_ms": 1}, None),
        ({"budget_ms": 100, "threads": 2}, None),
    ],
)
def test_choice(limits: dict[str, float], expected: str | None) -> None:
    assert choice(LADDER, **limits) == expected


@given(
    st.lists(
        st.tuples(st.integers(1, 20), st.integers(0, 20), st.integers(1, 20), st.integers(-3, 5)),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 22),
    st.none() | st.integers(1, 20),
    st.none() | st.integers(-2, 5),
)
def test_the_choice_is_the_best_of_those_that_fit(
    rows: list[tuple[int, int, int, int]], budget: int, size: int | None, drop: int | None
) -> None:
    records = tuple(
        record(str(number), ms, top1 / 20, size_bytes=mb * 10**6, drop=float(lost))
        for number, (ms, top1, mb, lost) in enumerate(rows)
    )
    found = select(records, Limits(budget, max_size_mb=size, max_drop=drop))
    fitting = [
        top1
        for ms, top1, mb, lost in rows
        if ms <= budget and (size is None or mb <= size) and (drop is None or lost <= drop)
    ]
    assert (found.choice is None) == (not fitting)
    assert (found.nearest is None) == bool(fitting)
    assert len(found.excluded) == len(rows) - len(fitting)
    if found.choice is not None:
        assert found.choice.accuracy == pytest.approx(5 * max(fitting))
        assert not found.next_better or found.next_better.latency > budget  # type: ignore[operator]
    latencies = [point.latency for point in found.front]
    accuracies = [point.accuracy for point in found.front]
    assert latencies == sorted(set(latencies))  # type: ignore[type-var]
    assert accuracies == sorted(set(accuracies))  # type: ignore[type-var]
    explain(found)


def test_it_explains_itself() -> None:
    found = select(LADDER, Limits(8.5))
    text = explain(found)
    assert "choice     lite0 TFLite int8: 4.00 ms median, 77.0 % top-1" in text
    assert "runner-up" in text
    assert "1 ms more  a budget 0.50 ms larger buys 2.0 points" in text
    assert "over the budget of 8.5 ms" in text
    assert text.count("*") == 2  # the mark and its legend
    assert "  79.0 |" in text
    assert found.as_json()["one_more_ms"]["file"] == "d.tflite"
    assert found.as_json()["next"]["gain_points"] == pytest.approx(2)


def test_the_choice_is_marked_though_it_was_measured_apart_from_the_front() -> None:
    """A choice confirmed by measurement is another object, and may lie below the front."""
    found = select(LADDER, Limits(8.5))
    assert found.choice is not None
    assert found.runner_up is not None
    for choice in (replace(found.choice), found.runner_up):
        assert explain(replace(found, choice=choice)).count("*") == 2  # the mark and its legend


def test_the_plot_is_of_what_is_near_the_budget() -> None:
    """A family's slowest members would press all others against the axis."""
    slow = tuple(record(f"{n}.tflite", 100.0 * n, 0.80 + n / 100) for n in range(1, 6))
    text = explain(select((*LADDER, *slow), Limits(4.2)))
    assert "5 more of the front, all slower, are not shown" in text
    assert "9.45 ms median" in text
    assert "not shown" not in explain(select(LADDER, Limits(4.2)))
    nothing = explain(select(slow, Limits(1)))  # then the nearest few
    assert "2 more of the front" in nothing


def test_accuracy_falls_back_to_what_is_comparable() -> None:
    bare = tuple(r.with_(top1=None, agreement=0.9 + i / 100) for i, r in enumerate(LADDER))
    assert select(bare, Limits(100)).measure == "agreement"
    two = (record(top1=None, agreement=1.0), record("e", 3, None, variant="efficientnet-lite4"))
    found = select(two, Limits(100))
    assert found.measure == "published"
    assert found.choice is not None
    assert found.choice.accuracy == 80.2
    with pytest.raises(UsageError, match="both a latency and an accuracy"):
        select((record(top1=None, variant="mine"),), Limits(1))


@pytest.mark.parametrize("budget", [0, -1, float("nan"), float("inf")])
def test_a_budget_that_is_none(budget: float) -> None:
    with pytest.raises(UsageError, match="leaves no time"):
        select(LADDER, Limits(budget))


def saved(path: Path, records: tuple[Record, ...] = LADDER, **host: object) -> Path:
    described = Host(**{"cpu": "one", "machine": "x86_64", "cores": 2, **host})  # type: ignore[arg-type]
    path.write_text(Results(described, records).to_json())
    return path


def test_command(tmp_path: Path) -> None:
    path = saved(tmp_path / "results.json")
    answer = call("select", "--results", path, "--budget-ms", 5, "--json", "-")
    assert json.loads(done(answer))["choice"]["file"] == "b.tflite"
    assert "another machine (one)" in answer.stderr
    assert "choice" in done(call("select", "--results", path, "--budget-ms", 5))
    message = finding(call("select", "--results", path, "--budget-ms", 1))
    assert "the nearest is a.tflite" in message
    out = tmp_path / "out.json"
    assert call("select", "--results", path, "--budget-ms", 1, "--json", out).returncode == 1
    content = json.loads(out.read_text())
    assert (content["choice"], content["nearest"]["file"]) == (None, "a.tflite")


def test_threads_that_nothing_was_timed_on(tmp_path: Path) -> None:
    path = saved(tmp_path / "results.json")
    message = finding(call("select", "--results", tmp_path, "--budget-ms", 5, "--threads", 8))
    assert "no file was timed on 8 threads, only on 1; measure with --threads 8" in message
    assert path.name in refused(
        call("select", "--results", tmp_path / "result.json", "--budget-ms", 5)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ('{"schema": 1', "not JSON"),
        ("[]", "states no schema"),
        ('{"schema": 4, "host": {}, "records": []}', "schema 4"),
        ('{"schema": 1, "host": {}, "records": []}', "no records"),
        ('{"schema": 1, "host": {}, "records": [{"file": 1}]}', "file"),
    ],
)
def test_results_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    assert message in refused(call("select", "--results", path, "--budget-ms", 5))


def test_records_of_two_machines(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "1.json"), saved(tmp_path / "2.json", cpu="two")
    message = refused(call("select", "--results", one, "--results", two, "--budget-ms", 5))
    assert "another machine (two)" in message
    same = call("select", "--results", one, "--results", one, "--budget-ms", 5, "--json", "-")
    assert json.loads(done(same))["choice"]["file"] == "b.tflite"
    assert "no time" in refused(call("select", "--results", one, "--budget-ms", 0))


CLASSES = ("cat", "dog", "emu")


def by_class(file: str, ms: float, right: tuple[int, int, int]) -> Record:
    images = (10, 20, 0)
    top1 = sum(right) / 30
    more = {"class_images": images, "class_right": right, "images": 30, "reference": "a"}
    return record(file, ms, top1, **more)


def test_judged_by_some_classes(tmp_path: Path) -> None:
    records = (by_class("a", 1, (9, 10, 0)), by_class("b", 1, (5, 18, 0)))
    content = Results(Host(cpu="one"), records, classes=CLASSES)
    path, names = tmp_path / "r.json", tmp_path / "names.txt"
    path.write_text(content.to_json())
    answer = call("select", "--results", path, "--budget-ms", 5, "--json", "-")
    assert json.loads(done(answer))["choice"]["file"] == "b"
    names.write_text("cat\n")
    some = ("--results", path, "--classes-from", names, "--budget-ms", 5)
    found = json.loads(done(call("select", *some, "--json", "-")))
    assert (found["choice"]["file"], found["choice"]["top1"]) == ("a", 0.9)
    assert (found["choice"]["images"], found["runner_up"]["drop"]) == (10, pytest.approx(40))
    assert "a" in done(call("select", *some, "--max-drop", 1))
    names.write_text("emu\n")
    assert "no photo of the 1 chosen classes" in refused(call("select", *some))
    names.write_text("cow\n")
    assert "'cow' of the chosen classes is neither" in refused(call("select", *some))
    names.write_text("")
    assert "are empty" in refused(call("select", *some))
    path.write_text(Results(Host(), LADDER).to_json())
    names.write_text("cat\n")
    assert "has no counts by class" in refused(call("select", *some))
