"""Changed settings of a sweep, and problems that are found before its first export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import call, save_photos

pytest.importorskip("jinja2", reason="the report")
pytest.importorskip("ai_edge_litert", reason="the extra 'export'")

from edge_effnet.benchmarks.records import Host, Results
from edge_effnet.benchmarks.sweep.plan import Cell, Plan
from edge_effnet.benchmarks.sweep.sweep import Outcome, sweep
from edge_effnet.benchmarks.sweep.tasks import Task, run
from edge_effnet.errors import UsageError


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 photos: three tasks of a sweep."""
    return save_photos(tmp_path_factory.mktemp("photos"), 150)


class Here:
    """Runs tasks in this process."""

    threads = 1

    def run(self, tasks: dict[str, Task]) -> Iterator[tuple[str, dict[str, object]]]:
        for key, task in tasks.items():
            yield key, run(task)


def keys(out: Path) -> list[str]:
    lines = (out / "journal.jsonl").read_text().splitlines() if out.exists() else []
    return [json.loads(line)["key"] for line in lines[1:]]


def swept(plan: Plan, out: Path, **timing: object) -> Outcome:
    return sweep(plan, out, Here(), lambda files: Results(Host(), ()), timing=timing)


def random_plan(photos: Path, *precisions: str, labels: Path | None = None) -> Plan:
    cell = Cell.parse("lite0@32", "random")
    table = None if labels is None else str(labels)
    return Plan((cell,), ("tflite",), precisions, images=str(photos), labels=table)


def test_a_corrected_setting_keeps_what_does_not_depend_on_it(tmp_path: Path, photos: Path) -> None:
    """Other photos need other predictions, other runs another timing; files stay."""

    out = tmp_path / "out"

    def stages(chosen: Plan, **timing: object) -> list[str]:
        before = len(keys(out))
        done = swept(chosen, out, **timing)
        new = [key.partition(" ")[0] for key in keys(out)[before:]]
        assert done.tasks == len(new)
        return new

    fp32, fp16 = random_plan(photos, "fp32"), random_plan(photos, "fp32", "fp16")
    every = ["export", *3 * ["accuracy"], "latency"]
    assert stages(fp32, runs=3) == every
    assert stages(fp32, runs=3) == []
    assert stages(fp32, runs=4) == ["latency"]
    table = tmp_path / "labels.csv"
    names = sorted(path.name for path in photos.iterdir())[:10]
    table.write_text("file,label\n" + "".join(f"{name},7\n" for name in names))
    assert stages(random_plan(photos, "fp32", labels=table), runs=4) == ["accuracy"]
    table.write_text(table.read_text().replace(",7", ",8"))
    assert stages(random_plan(photos, "fp32", labels=table), runs=4) == ["accuracy"]
    assert stages(fp16, runs=4) == every
    assert stages(fp32, runs=4) == []  # as before


def test_files_that_another_export_replaced_are_exported_again(
    tmp_path: Path, photos: Path
) -> None:
    out = tmp_path / "out"
    file = out / "models/32/efficientnet-lite0-fp32.tflite"
    chosen = random_plan(photos, "fp32")
    swept(chosen, out)
    content, lines = file.read_bytes(), keys(out)
    for change in (file.unlink, lambda: file.write_bytes(content + b"x")):
        change()
        done = swept(chosen, out)
        assert file.read_bytes() == content
        assert (done.tasks, done.before) == (1, 4)
        assert keys(out) == lines  # the same bytes: accuracy and latency stay valid


def test_all_problems_are_found_before_the_first_export(tmp_path: Path, photos: Path) -> None:
    table, out = tmp_path / "labels.csv", tmp_path / "out"
    table.write_text(f"file,label\n{next(photos.iterdir()).name},dodo of mars\n")
    (tmp_path / "net.safetensors").write_bytes(b"nothing")
    answer = call(
        *("sweep", "lite9", "b0", "lite0", f"lite1={tmp_path / 'net.safetensor'}"),
        *(f"lite2={tmp_path / 'net.safetensors'}", "--precisions", "int8,fp32"),
        *("--images", photos, "--labels", table, "--threads", 4096, "--out", out),
    )  # fmt: skip
    message = answer.stderr
    assert answer.returncode == 2
    assert message.startswith("error: 7 problems were found before the first export")
    for part in (
        "unknown variant 'lite9'",
        "int8 needs photos to calibrate on; give --calibration DIR",
        "4096 threads cannot be timed here",
        "no package with ImageNet weights is known for efficientnet-b0",
        f"did you mean {tmp_path / 'net.safetensors'}?",
        f"cannot read {tmp_path / 'net.safetensors'}",
        "the label 'dodo of mars' of",
    ):
        assert part in message
    assert not out.exists()


def test_photos_of_which_nothing_can_be_measured(tmp_path: Path, photos: Path) -> None:
    chosen, out = random_plan(photos, "fp16"), tmp_path / "out"
    with pytest.raises(UsageError, match="no labels, and there is no float file"):
        swept(chosen, out)
    assert not out.exists()
