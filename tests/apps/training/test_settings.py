"""Settings of a training: JSON round trip and values that are refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from edge_effnet.apps.training.settings import Settings
from edge_effnet.decoding import decode
from edge_effnet.errors import UsageError


def test_json_round_trip() -> None:
    settings = Settings("photos", "efficientnet-lite0", epochs=3, teacher="b4.pth", seed=7)
    assert decode(Settings, json.loads(json.dumps(asdict(settings)))) == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "slow"}, "unknown training recipe 'slow'"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"threads": -1}, "-1 threads cannot compute"),
    ],
)
def test_bad_values_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Settings("photos", "efficientnet-lite0", **change)
