"""The site's backends in a real browser: WebGPU on a software adapter, and what takes its place.

`make clients` runs it: it needs Chromium, npm and the package registry.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edge_effnet
from clients.browser import Watched, chromium, opened, served
from edge_effnet.apps.web import site
from support.labelled_photos import Files, LabelledPhotos

PHOTOS = 2
#: Chromium's software adapter SwiftShader, for WebGPU without a GPU.
SWIFTSHADER = (
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan,WebMachineLearningNeuralNetwork",
    "--use-vulkan=swiftshader",
    "--ignore-gpu-blocklist",
)
KINDS = [("tflite", "fp32"), ("tflite", "int8"), ("onnx", "fp32"), ("onnx", "int8")]
#: Largest difference to the native runtime's logits, in a range of 18: GPUs compute int8 files in
#: float.
CLOSE = {"fp32": 1e-3, "int8": 1.5}
OTHER_RESULTS = "computes other results than those recorded"

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


@pytest.fixture(scope="module")
def folder(lite0_files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of Lite0's float .tflite file; do not change it."""
    made = tmp_path_factory.mktemp("sites") / "tflite"
    site.make(lite0_files["tflite", "fp32"], made)
    return made


def changed(folder: Path, copy: Path, run: str) -> Path:
    """The site with another result of the GPU's ``run``: a JavaScript body over ``result``."""
    shutil.copytree(folder, copy)
    (copy / "sw.js").unlink()  # it would refuse the changed file
    script = (copy / "litert.js").read_text()
    before = "      return result;\n"
    assert script.count(before) == 1
    counted = "self.runs = (self.runs ?? 0) + 1;"
    after = f'      {counted} if (backend !== "wasm") {{ {run} }}\n{before}'
    (copy / "litert.js").write_text(script.replace(before, after))
    return copy


def load(watched: Watched, address: str, backend: str) -> None:
    watched.page.goto(f"{address}?backend={backend}")
    watched.page.wait_for_selector("html[data-ready]", timeout=240_000)


def first_answer(watched: Watched, photo: Path) -> str:
    watched.page.set_input_files("#file", photo)
    watched.page.wait_for_selector("#answers li:nth-child(5)", state="attached", timeout=240_000)
    return watched.text("#answers li:first-child span")


_ASK = """
async (pictures) => {
    const { open } = await import("./engine.js");
    const engine = await open(undefined, "webgpu");
    const found = [];
    for (const picture of pictures) {
        const bytes = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
        const bitmap = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none" });
        found.push(Array.from((await engine.ask(bitmap, bitmap.width, bitmap.height)).logits));
    }
    return { found, backend: engine.backend };
}
"""


def lossless(path: Path) -> str:
    stream = io.BytesIO()
    Image.open(path).convert("RGB").save(stream, "PNG", compress_level=1)
    return base64.b64encode(stream.getvalue()).decode()


@pytest.mark.parametrize(("form", "precision"), KINDS)
def test_the_gpu_answers_as_python_does(
    form: str, precision: str, lite0_files: Files, imagenet_dev: LabelledPhotos, tmp_path: Path
) -> None:
    path = lite0_files[form, precision]
    site.make(path, tmp_path / "site")
    photos = imagenet_dev.paths("evaluation")[:: 1000 // PHOTOS][:PHOTOS]
    expected = edge_effnet.open(path, threads=1).logits(photos)
    with (
        served(tmp_path / "site") as address,
        opened(chromium(), SWIFTSHADER) as watched,
    ):
        load(watched, address, "webgpu")
        assert "GPU (WebGPU)" in watched.text("#about")
        assert watched.page.is_hidden("#refused")
        answer: Any = watched.page.evaluate(_ASK, [lossless(photo) for photo in photos])
        assert watched.errors == []
    found = np.array(answer["found"], np.float32)
    assert answer["backend"] == "webgpu"
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    print(f"{form} {precision}: logits within {np.abs(found - expected).max():.2g}")
    assert np.abs(found - expected).max() <= CLOSE[precision]


def test_a_choice_is_remembered(folder: Path) -> None:
    with served(folder) as address, opened(chromium(), SWIFTSHADER) as watched:
        load(watched, address, "wasm")
        assert watched.page.input_value("#backend") == "wasm"
        watched.page.select_option("#backend", "webgpu")
        watched.page.wait_for_selector("#about:has-text('WebGPU')", timeout=240_000)
        watched.page.goto(address)
        watched.page.wait_for_selector("#about:has-text('WebGPU')", timeout=240_000)
        assert watched.page.input_value("#backend") == "webgpu"


def test_without_a_gpu_the_cpu_computes(
    folder: Path, imagenet_dev: LabelledPhotos, lite0_files: Files
) -> None:
    """WebNN has no driver here; and a browser without WebGPU offers no choice."""
    photo = imagenet_dev.paths("evaluation")[0]
    expected = edge_effnet.open(lite0_files["tflite", "fp32"], threads=1)(photo)[0][0]
    with served(folder) as address:
        with opened(chromium(), SWIFTSHADER) as watched:
            load(watched, address, "webnn")
            assert watched.text("#refused").startswith("WebNN is not used: ")
            assert "thread" in watched.text("#about")
            assert first_answer(watched, photo) == expected
        with opened(chromium(), ("--disable-features=WebGPU,WebGPUService",)) as watched:
            watched.context.add_init_script("delete Navigator.prototype.gpu")
            load(watched, address, "webgpu")
            assert "thread" in watched.text("#about")
            assert watched.page.is_hidden("#backends")


@pytest.mark.parametrize("run", ["result[0] += 60;", "result.fill(NaN);", "result.fill(0);"])
def test_a_backend_that_differs_is_not_used(
    run: str, folder: Path, imagenet_dev: LabelledPhotos, lite0_files: Files, tmp_path: Path
) -> None:
    photo = imagenet_dev.paths("evaluation")[0]
    expected = edge_effnet.open(lite0_files["tflite", "fp32"], threads=1)(photo)[0][0]
    copy = changed(folder, tmp_path / "site", run)
    with served(copy) as address, opened(chromium(), SWIFTSHADER) as watched:
        load(watched, address, "webgpu")
        assert f"GPU (WebGPU) is not used: it {OTHER_RESULTS}" in watched.text("#refused")
        assert "thread" in watched.text("#about")
        assert watched.page.input_value("#backend") == "wasm"
        assert first_answer(watched, photo) == expected


def test_a_gpu_that_fails_later_is_replaced(
    folder: Path, imagenet_dev: LabelledPhotos, lite0_files: Files, tmp_path: Path
) -> None:
    """The first run is the self-test, the second the photo's."""
    photo = imagenet_dev.paths("evaluation")[0]
    expected = edge_effnet.open(lite0_files["tflite", "fp32"], threads=1)(photo)[0][0]
    run = 'if (self.runs > 1) throw new Error("the device is lost");'
    copy = changed(folder, tmp_path / "site", run)
    with served(copy) as address, opened(chromium(), SWIFTSHADER) as watched:
        load(watched, address, "webgpu")
        assert "GPU (WebGPU)" in watched.text("#about")
        assert first_answer(watched, photo) == expected
        assert "is not used: the device is lost." in watched.text("#refused")
        assert "thread" in watched.text("#about")


def test_a_cpu_that_differs_is_not_used(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "site"
    shutil.copytree(folder, copy)
    (copy / "sw.js").unlink()
    model = json.loads((copy / "model.json").read_text())
    model["selftest"]["logits"] = [-value for value in model["selftest"]["logits"]]
    (copy / "model.json").write_text(json.dumps(model))
    with served(copy) as address, opened(chromium()) as watched:
        watched.page.goto(address)
        text = f"cannot be loaded: it {OTHER_RESULTS}"
        watched.page.wait_for_selector(f"#message:has-text({text!r})", timeout=240_000)
