"""Compile a quantized network for Rockchip's NPUs: rknn.py FOLDER PLATFORM...

FOLDER holds ``network.onnx``, and ``images.npy``, uint8 [n, height, width, 3]. Written there:
``model.PLATFORM.rknn`` for each platform, and ``logits.npy``, float32 [n, outputs], by the
simulator of the first platform.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np


def main(folder: Path, platforms: list[str]) -> None:
    """Compile for each platform, and simulate the first."""
    images = np.load(folder / "images.npy")
    api = import_module("rknn.api")
    for platform in platforms:
        toolkit = api.RKNN(verbose=False)
        check(toolkit.config(target_platform=platform), "config")
        check(toolkit.load_onnx(str(folder / "network.onnx")), "load_onnx")
        check(toolkit.build(do_quantization=False), "build")
        check(toolkit.export_rknn(str(folder / f"model.{platform}.rknn")), "export_rknn")
        if platform == platforms[0]:
            np.save(folder / "logits.npy", simulate(toolkit, images))
        toolkit.release()


def simulate(toolkit: Any, images: np.ndarray) -> np.ndarray:
    """Outputs [n, outputs] of the simulator."""
    if not len(images):
        return np.zeros((0, 0), np.float32)
    check(toolkit.init_runtime(), "init_runtime")
    rows = []
    for image in images:
        (output, *_) = toolkit.inference(inputs=[image[None]], data_format="nhwc")
        rows.append(np.asarray(output, np.float32).reshape(-1))
    return np.stack(rows)


def check(code: int, step: str) -> None:
    """End with a message if a step of the toolkit failed."""
    if code:
        sys.exit(f"RKNN.{step} returned {code}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
