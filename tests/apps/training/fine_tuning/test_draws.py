"""Draws: every photo once in an epoch, other views each time, classes balanced on request."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_effnet.apps.training.fine_tuning.draws import draw, step_size
from edge_effnet.apps.training.fine_tuning.recipes import DEFAULT
from edge_effnet.errors import UsageError

LABELS = np.array([0] * 30 + [1] * 10)


def test_an_epoch_draws_each_photo_once_and_depends_on_seed_and_epoch() -> None:
    steps = draw(LABELS, seed=0, epoch=3, size=10)
    photos = np.concatenate([photos for photos, _ in steps])
    assert sorted(photos) == list(range(40))
    assert {view for _, views in steps for view in views} == {3}
    again = np.concatenate([photos for photos, _ in draw(LABELS, seed=0, epoch=3, size=10)])
    assert np.array_equal(photos, again)
    for seed, epoch in ((1, 3), (0, 4)):
        other = np.concatenate([p for p, _ in draw(LABELS, seed=seed, epoch=epoch, size=10)])
        assert not np.array_equal(photos, other)


def test_an_incomplete_step_is_left_out() -> None:
    steps = draw(LABELS, seed=0, epoch=0, size=16)
    assert [len(photos) for photos, _ in steps] == [16, 16]


def test_cached_views_are_drawn_equally_often() -> None:
    drawn = np.zeros((40, 4), int)
    for epoch in range(8):
        for photos, views in draw(LABELS, seed=0, epoch=epoch, size=10, views=4):
            drawn[photos, views] += 1
    assert (drawn == 2).all()


def test_balanced_draws_have_as_many_photos_of_each_class() -> None:
    drawn = np.concatenate(
        [
            LABELS[photos]
            for epoch in range(200)
            for photos, _ in draw(LABELS, seed=0, epoch=epoch, size=10, balanced=True)
        ]
    )
    assert drawn.mean() == pytest.approx(0.5, abs=0.02)  # four standard errors


@pytest.mark.parametrize(
    ("photos", "batch", "processes", "size"),
    [(400, 16, 1, 16), (7, 16, 1, 6), (400, 16, 3, 12), (2, 16, 1, 2)],
)
def test_steps_have_pairs_for_each_process(
    photos: int, batch: int, processes: int, size: int
) -> None:
    assert step_size(photos, replace(DEFAULT, batch=batch), processes) == size


def test_too_few_photos_are_refused() -> None:
    with pytest.raises(UsageError, match="3 training photos are too few for 2 processes"):
        step_size(3, DEFAULT, 2)
