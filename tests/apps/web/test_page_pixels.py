"""The page's preprocessing in JavaScript gives the pixels and input tensors of Python's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_effnet.preprocess import INTERPOLATIONS, Preprocess
from support.page_scripts import scripts

CASES = [
    *[
        (w, h, 64, 0.875, kind)
        for w, h in [(97, 64), (64, 97), (227, 227), (300, 180)]
        for kind in ("bicubic", "bilinear", "nearest")
    ],
    (1, 1, 8, 1.0, "bicubic"),
    (3, 500, 32, 0.875, "bilinear"),
    (500, 3, 32, 0.9, "bicubic"),
    (20, 30, 64, 1.0, "bicubic"),
    (64, 64, 64, 1.0, "bicubic"),
    (65, 64, 64, 1.0, "bilinear"),
    (320, 480, 224, 224 / 256, "bicubic"),
    (640, 480, 224, 224 / 256, "bicubic"),
    (333, 251, 97, 0.33, "bicubic"),
    (101, 203, 50, 0.71, "nearest"),
    *[(w, h, 48, crop, kind) for kind in INTERPOLATIONS if kind.startswith("keras-")
      for w, h, crop in [(97, 64, 1.0), (320, 481, 0.8), (20, 33, 1.0), (48, 48, 1.0), (1, 9, 0.5)]
      ],
]  # fmt: skip
MODES = [
    *[(w, h, 48, crop, kind, mode) for mode in ("squash", "border")
      for kind in INTERPOLATIONS for crop in (1.0, 0.8)
      for w, h in [(97, 64), (64, 97), (300, 30), (20, 33), (48, 48), (96, 49), (1, 200)]],
]  # fmt: skip
_SCRIPT = """
import { readFileSync, writeFileSync } from "node:fs";
import { needed, pixels, tensor } from "./preprocess.mjs";
const made = [], rounded = [];
for (const { width, height, preprocess } of JSON.parse(readFileSync("cases.json"))) {
  const whole = readFileSync(`${made.length}.rgba`);
  const part = needed(width, height, preprocess);
  const data = new Uint8Array(part.width * part.height * 4).fill(99);
  for (let row = 0; row < part.height; row++) {
    const start = ((part.top + row) * width + part.left) * 4;
    data.set(whole.subarray(start, start + part.width * 4), row * part.width * 4);
  }
  const found = pixels({ data, ...part, fullWidth: width, fullHeight: height }, preprocess);
  const affine = { table: [], mean: [123.5, 0, 300], std: [58.5, 3, 7] };
  const input = { dtype: "float32", layout: "NHWC", ...affine };
  const exact = found instanceof Float32Array;
  made.push(Array.from(exact ? tensor(found, input) : found));
  if (exact) {
    const identity = Array.from({ length: 256 }, (_, value) => value);
    const bytes = { dtype: "uint8", layout: "NHWC", table: [identity, identity, identity] };
    rounded.push(Array.from(tensor(found, bytes)));
  } else rounded.push(null);
}
const table = [0, 1, 2].map((channel) => Array.from({ length: 256 }, (_, v) => v / 4 + channel));
const rgb = Uint8Array.from({ length: 12 }, (_, index) => index);
const inputs = ["NHWC", "NCHW"].map((layout) =>
  Array.from(tensor(rgb, { dtype: "float32", layout, table })));
writeFileSync("made.json", JSON.stringify({ made, rounded, inputs }));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_page_crops_and_resizes_to_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    cases: list[dict[str, Any]] = []
    expected, bytes_expected = [], []
    shapes = [*((*case, "center") for case in CASES), *MODES]
    for number, (width, height, size, crop, kind, mode) in enumerate([*shapes, *shapes]):
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        opaque = np.full((height, width, 1), 255, np.uint8)
        (tmp_path / f"{len(cases)}.rgba").write_bytes(np.dstack([image, opaque]).tobytes())
        preprocess = {"size": size, "crop": crop, "interpolation": kind, "crop_mode": mode}
        preprocess["resize_first"] = number >= len(shapes)
        how = Preprocess(**preprocess, mean=(123.5, 0.0, 300.0), std=(58.5, 3.0, 7.0))
        given = preprocess | {"fill": how.border_colour}
        cases.append({"width": width, "height": height, "preprocess": given})
        pixels = how.exact_pixels(image)
        exact = pixels.dtype == np.float32
        expected.append(how.normalise(pixels) if exact else pixels)
        bytes_expected.append(how.pixels(image) if exact else None)
    scripts(tmp_path, "preprocess", "keras_resizing")
    (tmp_path / "run.mjs").write_text(_SCRIPT)
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    subprocess.run(["node", "run.mjs"], cwd=tmp_path, check=True, timeout=400)
    found = json.loads((tmp_path / "made.json").read_text())
    for case, pixels, wanted in zip(cases, found["made"], expected, strict=True):
        np.testing.assert_array_equal(np.array(pixels), wanted.ravel(), str(case))
    for case, values, bytes_wanted in zip(cases, found["rounded"], bytes_expected, strict=True):
        if bytes_wanted is not None:
            np.testing.assert_array_equal(np.array(values), bytes_wanted.ravel(), str(case))
    nhwc, nchw = (np.array(values) for values in found["inputs"])
    np.testing.assert_array_equal(nhwc.reshape(4, 3).T.ravel(), nchw)
    assert nhwc[:3].tolist() == [0.0, 1.25, 2.5]
