"""Every network that timm, torchvision and efficientnet_pytorch provide, against its own library.

The checkpoint is read with nothing said about it, converted to ONNX and run; the logits must be
the library's to 1e-4 of the largest.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_effnet.registry import get_variant
from edge_effnet.variants import VARIANTS
from parity.zoo import Case, create, difference, images, ours, reference, run

TOLERANCE = 1e-4
_OWN_SIZE = 300  # networks made for more pixels than this run on fewer, and on one image
_SMALLER = 161  # odd: other pads than at an even size


def _case(library: str, name: str, variant: str, source: str) -> Case:
    resolution = get_variant(variant).resolution
    side = resolution if resolution <= _OWN_SIZE else _SMALLER
    return Case(library, name, variant, source, side)


def _timm() -> list[Case]:
    cases = []
    for variant in VARIANTS.values():
        name = variant.name.replace("efficientnet-edgetpu-", "efficientnet-e").replace("-", "_")
        native = not variant.name.startswith("efficientnetv2-b")
        if native:
            cases.append(_case("timm", name, variant.name, "timm"))
        cases.append(_case("timm", f"tf_{name}", variant.name, "timm-tf"))
    return cases


def _torchvision() -> list[Case]:
    numbers = [(f"efficientnet_b{n}", f"efficientnet-b{n}") for n in range(8)]
    sizes = [(f"efficientnet_v2_{s}", f"efficientnetv2-{s}") for s in "sml"]
    return [_case("torchvision", *names, "torchvision") for names in numbers + sizes]


def _lukemelas() -> list[Case]:
    names = [f"efficientnet-{end}" for end in [*(f"b{n}" for n in range(9)), "l2"]]
    return [_case("lukemelas", name, name, "lukemelas") for name in names]


CASES = [*_timm(), *_torchvision(), *_lukemelas()]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits_are_the_librarys(case: Case, tmp_path: Path) -> None:
    network = create(case)
    own_size = case.side == get_variant(case.variant).resolution
    batch = np.concatenate([images(case.side, seed) for seed in ((1, 2) if own_size else (1,))])
    expected = reference(network, batch)
    assert np.isfinite(expected).all()
    assert expected.std() > 0.1
    path = tmp_path / f"{case.name}.pth"
    torch.save(network.state_dict(), path)
    learned = sum(p.numel() for p in network.parameters())
    del network
    model = ours(case, path)
    path.unlink()
    assert model.variant is get_variant(case.variant)
    assert model.info.source is not None
    assert model.info.source.kind == case.source
    assert model.graph.params == learned
    assert difference(run(model, batch), expected) < TOLERANCE
