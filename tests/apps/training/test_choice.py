"""The network that is trained for a latency budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_effnet.apps.training.choice import choose_variant
from edge_effnet.errors import UsageError
from support.command import call, refused
from support.latency_models import latency_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A device whose latency is 0.01 ms per million multiply-adds of pointwise layers."""
    return latency_model().save(tmp_path / "device.json")


def test_the_most_accurate_network_within_the_budget(model: Path) -> None:
    notes: list[str] = []
    choices = {
        budget: choose_variant(model, budget, None, notes.append).variant for budget in (4, 9, 1000)
    }
    assert len(set(choices.values())) > 1, choices
    assert choices[1000] == "efficientnet-lite2"
    assert any("efficientnet-lite2 is the most accurate network within 1000 ms" in n for n in notes)


def test_refusals(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no "):
        choose_variant(model, 1e-6, None, lambda text: None)
    photos = tmp_path / "photos"
    message = refused(call("train", photos, "--budget-ms", 5))
    assert message == ("--budget-ms and --latency-model choose the variant together: give both")
    message = refused(
        call("train", photos, "--variant", "lite0", "--budget-ms", 5, "--latency-model", model)
    )
    assert "omit --variant lite0" in message
    assert "needs --weights FILE" in refused(call("train", photos, "--variant", "auto"))
