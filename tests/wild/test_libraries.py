"""transformers, fastai, MONAI and Lightning: their own files give their own answers.

EDGE_EFFNET_RECORD=1 writes the records that `make test` reads.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from wild.libraries import MAKERS, NAMES, record

import edge_effnet
from edge_effnet.forward import logits
from support.recorded_networks import recorded


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_a_record_is_the_librarys(maker: Any, tmp_path: Path) -> None:
    """Names, shapes and outputs; the config may have fields of a newer release."""
    fresh = record(maker, tmp_path)
    if os.environ.get("EDGE_EFFNET_RECORD"):
        fresh.save(maker.__name__)
    kept = recorded(maker.__name__)
    assert (kept.tensors, kept.side, kept.options) == (fresh.tensors, fresh.side, fresh.options)
    assert set(kept.files) == set(fresh.files)
    np.testing.assert_allclose(kept.outputs, fresh.outputs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("maker", MAKERS[:2], ids=lambda maker: maker.__name__)
def test_a_saved_folder_has_the_class_names(maker: Any, tmp_path: Path) -> None:
    maker(tmp_path)
    model = edge_effnet.load("auto", tmp_path / "model.safetensors", notify=lambda text: None)
    assert model.info.labels == tuple(NAMES)


def test_a_live_module_of_transformers(tmp_path: Path) -> None:
    """`load` compares its outputs; the module does not hold its image processor's record."""
    network, *_ = MAKERS[0](tmp_path)
    notes: list[str] = []
    assert edge_effnet.load("auto", network, notify=notes.append).info.labels == tuple(NAMES)
    assert "preprocessor_config.json" in notes[0]


def test_lightnings_hyperparameters_do_not_refuse_a_file(tmp_path: Path) -> None:
    import lightning
    from omegaconf import OmegaConf

    class Lit(lightning.LightningModule):
        def __init__(self, criterion: Any, folder: Path, optimizer: Any, config: Any) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.model = timm.create_model("efficientnet_b0", num_classes=5)
            self.criterion = criterion

        def training_step(self, batch: Any, index: int) -> Any:
            return self.criterion(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters())

    torch.manual_seed(0)
    loss = torch.nn.CrossEntropyLoss(weight=torch.ones(5), label_smoothing=0.1)
    optimizer = functools.partial(torch.optim.AdamW, lr=1e-3)
    network = Lit(loss, Path("/data"), optimizer, OmegaConf.create({"lr": 0.1}))
    pair = (torch.randn(2, 3, 64, 64), torch.tensor([0, 1]))
    trainer = lightning.Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(network, torch.utils.data.DataLoader([(pair[0][i], pair[1][i]) for i in (0, 1)], 2))
    trainer.save_checkpoint(tmp_path / "lit.ckpt")
    model = edge_effnet.load(
        "auto", tmp_path / "lit.ckpt", source="timm", resolution=64, notify=lambda text: None
    )
    batch = np.random.default_rng(0).standard_normal((1, 3, 64, 64), np.float32)
    with torch.no_grad():
        expected = network.model.eval()(torch.from_numpy(batch)).numpy()
    difference = np.abs(logits(model.graph, model.weights, batch) - expected).max()
    assert difference < 1e-4 * np.abs(expected).max()
