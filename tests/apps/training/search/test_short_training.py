"""Short trainings of candidates: the same every time, resumed from the journal, failures named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")
from edge_effnet.apps.training.samples import TrainingData
from edge_effnet.apps.training.search.short_training import (
    JOURNAL_NAME,
    ShortTraining,
    ShortTrainings,
    identity,
)
from edge_effnet.benchmarks.sweep.journal import Journal
from edge_effnet.errors import EdgeEffNetError
from edge_effnet.registry import get_variant
from support import small_training
from support.command import call, done, refused
from support.latency_models import latency_model, runtime

TINY = "efficientnet-lite0-d0.4-w0.35-r112"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    return small_training.photos(tmp_path_factory.mktemp("photos"))


class Recorded:
    """An executor that runs tasks here and lists them; it can fail and be killed."""

    threads = 1

    def __init__(self, kill_after: int = 100, failing: str = "") -> None:
        self.names: list[str] = []
        self.kill_after, self.failing = kill_after, failing

    def run(self, tasks: Mapping[str, Any]) -> Any:
        for name in tasks:
            if len(self.names) == self.kill_after:
                raise KeyboardInterrupt
            self.names.append(name)
            yield (
                name,
                (
                    {"failed": "no memory", "seconds": 0.0}
                    if name == self.failing
                    else {"top1": len(name) / 100, "head_top1": 0.1, "seconds": 1.0}
                ),
            )


def test_what_is_in_the_journal_is_not_trained_again(data: TrainingData, tmp_path: Path) -> None:
    names = [f"efficientnet-lite0-d1-w1-r{side}" for side in (112, 128, 144)]
    variants = {name: get_variant(name) for name in names}
    template = ShortTraining("", "imagenet", data, 1, 0, "cpu", 1)
    mark = identity(template, "abc")
    failures: list[tuple[str, str]] = []

    def estimate(executor: Recorded, key: str = mark) -> Any:
        with Journal(tmp_path / JOURNAL_NAME) as journal:
            return ShortTrainings(
                template,
                executor,
                journal,
                key,
                lambda *_: None,
                lambda name, error: failures.append((name, error)),
            )(variants)

    killed = Recorded(kill_after=1)
    with pytest.raises(KeyboardInterrupt):
        estimate(killed)
    resumed = Recorded(failing=names[2])
    assert estimate(resumed) == {name: len(name) / 100 for name in names[:2]}
    assert resumed.names == names[1:]
    assert failures == [(names[2], "no memory")]
    last = Recorded()
    assert len(estimate(last)) == 3
    assert last.names == [names[2]]
    other = identity(replace(template, epochs=2), "abc")
    assert other != mark
    again = Recorded()
    estimate(again, other)
    assert again.names == names


@pytest.mark.slow
def test_a_short_training_repeats(data: TrainingData) -> None:
    training = ShortTraining(TINY, "imagenet", data, 1, 0, "cpu", 1)
    first = training.do()
    assert 1 / 3 < first["top1"] <= 1
    assert first["top1"] >= first["head_top1"]
    assert training.do() == first


@pytest.mark.slow
def test_a_training_of_another_family_fails_with_a_message(data: TrainingData) -> None:
    with pytest.raises(EdgeEffNetError, match="no package with ImageNet weights"):
        ShortTraining("efficientnetv2-b0-d1-w1-r112", "imagenet", data, 1, 0, "cpu", 1).do()


@pytest.mark.slow
def test_the_command_trains_resumes_and_names_the_next_command(
    data: TrainingData, tmp_path: Path
) -> None:
    kernels = runtime(pointwise__multiply_adds=0.01, network__call=0.2)
    model = latency_model(kernels).save(tmp_path / "pi.json")
    folder, out = str(data.folder), str(tmp_path / "search")
    line = ["search", folder, "--budget-ms", "0.6", "--latency-model", str(model), "--out", out]
    line += ["--epochs", "1", "--trials", "2", "--workers", "1", "--dimensions", "width,resolution"]
    first = call(*line)
    assert "2 trainings; 0 were in" in first.stderr
    assert "validation photos after 1 epoch" in done(first)
    assert f"next: edge-effnet train {folder} --variant lite0-d1-" in first.stdout
    second = call(*line)
    assert "0 trainings; 2 were in" in second.stderr
    assert done(second) == first.stdout


def test_photos_are_needed(tmp_path: Path) -> None:
    model = latency_model().save(tmp_path / "pi.json")
    line = ["search", "--budget-ms", "4", "--latency-model", str(model)]
    assert "give a folder of photos to train on, or --dry-run" in refused(call(*line))
    both = call(*line, "photos", "--workers", "2", "--scheduler", "tcp://127.0.0.1:1")
    assert "exclude each other" in refused(both)
