"""The site in a real browser: the same answers as ours, a camera, no network, and what goes wrong.

`make clients` runs it: it needs Chromium, npm and the package registry.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import edge_effnet
from clients.browser import PHONE, Watched, chromium, film, opened, served
from edge_effnet.apps.web import site
from support.labelled_photos import Files, LabelledPhotos

PHOTOS = 12
CAMERA = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
KINDS = [("tflite", "int8"), ("tflite", "fp32"), ("onnx", "int8"), ("onnx", "fp32")]
#: Largest difference to the logits that the same file gives here on the same pixels, in a range of
#: 18: another order of sums in float; in integers, a step of rounding here and there.
CLOSE = {"fp32": 1e-3, "int8": 1.0}

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
Sites = Callable[[str, str], Path]
Open = Callable[..., AbstractContextManager[Watched]]


@pytest.fixture(scope="module")
def sites(lite0_files: Files, tmp_path_factory: pytest.TempPathFactory) -> Sites:
    """The site of one of Lite0's files, made once; do not change it."""
    made: dict[tuple[str, str], Path] = {}

    def of(form: str, precision: str) -> Path:
        key = (form, precision)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("sites") / f"{form}-{precision}"
            site.make(lite0_files[key], made[key])
        return made[key]

    return of


@pytest.fixture(scope="module")
def browser() -> Open:
    """Opens a new browser; skips without one."""
    path = chromium()

    def start(*arguments: str, **options: Any) -> AbstractContextManager[Watched]:
        return opened(path, arguments, **options)

    return start


def ready(watched: Watched, address: str) -> None:
    """Load the page and wait until the model is ready."""
    watched.page.goto(address)
    watched.page.wait_for_selector("html[data-ready]", timeout=240_000)


def says(watched: Watched, text: str, where: str = "#message") -> None:
    """Wait until an element shows ``text``; the page's policy lets no script be made of text."""
    watched.page.wait_for_selector(f"{where}:has-text({text!r})", timeout=120_000)


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


_ASK = """
async ([pictures, threads]) => {
    const { open } = await import("./engine.js");
    const engine = await open(threads ?? undefined);
    const found = [];
    for (const picture of pictures) {
        const bytes = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
        const bitmap = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none" });
        found.push(Array.from((await engine.ask(bitmap, bitmap.width, bitmap.height)).logits));
    }
    return found;
}
"""


def logits(
    watched: Watched, pictures: Sequence[bytes], threads: int | None = None
) -> NDArray[np.float32]:
    """What the page's own engine answers for encoded pictures: float32 [n, classes]."""
    encoded = [base64.b64encode(picture).decode() for picture in pictures]
    return np.array(watched.page.evaluate(_ASK, [encoded, threads]), np.float32)


def alike(found: NDArray[np.float32], expected: NDArray[np.float32], close: float) -> None:
    """The same best class, and all logits within ``close``."""
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    assert np.abs(found - expected).max() <= close


@pytest.mark.parametrize(("form", "precision"), KINDS)
def test_the_browser_answers_as_python_does(
    form: str, precision: str, sites: Sites, browser: Open, lite0_files: Files,
    imagenet_dev: LabelledPhotos,
) -> None:  # fmt: skip
    paths = imagenet_dev.paths("evaluation")
    paths = paths[:: len(paths) // PHOTOS][:PHOTOS]
    expected = edge_effnet.open(lite0_files[form, precision], threads=1).logits(paths)
    lossless = [png(Image.open(path).convert("RGB")) for path in paths]
    with served(sites(form, precision)) as address, browser() as watched:
        ready(watched, address)
        assert watched.page.evaluate("crossOriginIsolated")
        found = logits(watched, lossless)
        alike(found, expected, CLOSE[precision])
        alone = logits(watched, lossless[:6], threads=1)
        np.testing.assert_allclose(alone, found[:6], atol=1e-4)
        alike(logits(watched, [path.read_bytes() for path in paths]), expected, CLOSE[precision])
        assert watched.errors == []
        assert all(asked.startswith((address, "blob:")) for asked in watched.requests)


def frames(photos: LabelledPhotos, classify: Any, count: int) -> dict[str, Image.Image]:
    """Photos as a camera of 640 x 480 sees them, that the model is sure of: label -> frame."""
    found: dict[str, Image.Image] = {}
    for path in photos.paths("evaluation"):
        image = Image.open(path).convert("RGB").resize((640, 480))
        (label, probability), *_ = classify(image)
        if probability > 0.95 and label not in found:
            found[label] = image
        if len(found) == count:
            return found
    pytest.skip("too few photos that the model is sure of")


_FRAME = """
async () => {
    const { open } = await import("./engine.js");
    const video = document.getElementById("video");
    video.pause();
    const { videoWidth: width, videoHeight: height } = video;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    const bytes = context.getImageData(0, 0, width, height).data;
    const engine = await open();
    const { logits } = await engine.ask(video, width, height);
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return { width, height, rgba: btoa(text), logits: Array.from(logits) };
}
"""


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_a_camera_that_shows_known_photos(
    form: str, sites: Sites, browser: Open, lite0_files: Files, imagenet_dev: LabelledPhotos,
    tmp_path: Path,
) -> None:  # fmt: skip
    classify = edge_effnet.open(lite0_files[form, "int8"], threads=1)
    shown = frames(imagenet_dev, classify, 3)
    film(tmp_path / "photos.y4m", [frame for frame in shown.values() for _ in range(15)], fps=10)
    lens = f"--use-file-for-fake-video-capture={tmp_path / 'photos.y4m'}"
    with (
        served(sites(form, "int8")) as address,
        browser(*CAMERA, lens, viewport=PHONE) as watched,
    ):
        ready(watched, address)
        watched.page.click("#start")
        seen: set[str] = set()
        for _ in range(900):
            watched.page.wait_for_timeout(100)
            line = watched.page.text_content("#answers li:first-child div")
            rate = watched.text("#fps")
            if line and "%" in line and rate[0].isdigit():
                seen.add(watched.text("#answers li:first-child span"))
            if seen >= set(shown):
                break
        assert seen >= set(shown)
        assert 0 < float(watched.text("#fps").split()[0]) < 12  # at most the camera's 10
        width = watched.page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"]
        frame = watched.page.evaluate(_FRAME)
        rgba = np.frombuffer(base64.b64decode(frame["rgba"]), np.uint8)
        rgb = rgba.reshape(frame["height"], frame["width"], 4)[..., :3]
        found = np.array(frame["logits"], np.float32)[None]
        alike(found, classify.logits([np.ascontiguousarray(rgb)]), CLOSE["int8"])
        assert watched.errors == []


def test_no_network_once_loaded(sites: Sites, browser: Open, imagenet_dev: LabelledPhotos) -> None:
    photo = imagenet_dev.paths("evaluation")[0]
    with browser() as watched:
        with served(sites("tflite", "int8")) as address:
            ready(watched, address)
            watched.page.set_input_files("#file", photo)
            watched.page.wait_for_selector("#answers li:nth-child(5)", state="attached")
            before = watched.page.text_content("#answers")
            assert "Works without a network" in watched.text("#about")
        with pytest.raises(Exception, match="ERR_CONNECTION_REFUSED"):
            watched.context.new_page().goto(address.replace("127.0.0.1", "localhost"))
        ready(watched, address)  # the server is gone
        watched.page.set_input_files("#file", photo)
        watched.page.wait_for_selector("#answers li:nth-child(5)", state="attached")
        assert watched.page.text_content("#answers") == before


def test_it_can_be_installed(sites: Sites, browser: Open) -> None:
    with served(sites("tflite", "int8")) as address, browser() as watched:
        ready(watched, address)
        tools = watched.context.new_cdp_session(watched.page)
        manifest = tools.send("Page.getAppManifest")
        assert manifest["errors"] == []
        assert "EfficientNet-Lite0 int8" in manifest["data"]
        assert tools.send("Page.getInstallabilityErrors")["installabilityErrors"] == []


def test_a_new_version_takes_over(sites: Sites, browser: Open, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(sites("tflite", "int8"), folder)
    with served(folder) as address, browser() as watched:
        ready(watched, address)
        assert watched.text("h1") == "EfficientNet-Lite0 int8"
        shutil.rmtree(folder)
        shutil.copytree(sites("onnx", "fp32"), folder)
        ready(watched, address)
        says(watched, "EfficientNet-Lite0 fp32", "h1")
        watched.page.wait_for_selector("html[data-ready]", timeout=240_000)
        assert "ONNX Runtime Web" in watched.text("#about")
        kept = watched.page.evaluate("caches.keys().then((names) => names.length)")
        assert kept == 1


def test_a_file_that_was_changed_is_refused(sites: Sites, browser: Open, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(sites("tflite", "int8"), folder)
    data = bytearray((folder / "model.tflite").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.tflite").write_bytes(data)
    with served(folder) as address, browser() as watched:
        watched.page.goto(address)
        says(watched, "cannot be loaded: model.tflite does not arrive as it was made")


def test_no_camera_and_a_refused_one(sites: Sites, browser: Open, tmp_path: Path) -> None:
    refused = ("--deny-permission-prompts",)
    with served(sites("tflite", "int8")) as address:
        for arguments, permissions, said in (
            ((), ("camera",), "There is no camera here"),
            ((*CAMERA[1:], *refused), (), "The camera was refused"),
        ):
            with browser(*arguments, permissions=permissions) as watched:
                ready(watched, address)
                watched.page.click("#start")
                says(watched, said)
                (tmp_path / "notes.txt").write_text("no picture")
                watched.page.set_input_files("#file", tmp_path / "notes.txt")
                says(watched, "notes.txt is not a picture")
                assert watched.page.is_visible("#start")


def test_without_https_photos_still_work(
    sites: Sites, browser: Open, imagenet_dev: LabelledPhotos
) -> None:
    names = "--host-resolver-rules=MAP photos.test 127.0.0.1"
    with served(sites("onnx", "int8")) as address, browser(*CAMERA, names) as watched:
        ready(watched, address.replace("127.0.0.1", "photos.test"))
        assert not watched.page.evaluate("isSecureContext")
        watched.page.click("#start")
        says(watched, "https://")
        watched.page.set_input_files("#file", imagenet_dev.paths("evaluation")[0])
        watched.page.wait_for_selector("#answers li:nth-child(5)", state="attached")
        assert "1 thread" in watched.text("#about")


def test_labels_are_text(sites: Sites, browser: Open, tmp_path: Path) -> None:
    """Names that are markup stay names; they come with files from anywhere."""
    folder = tmp_path / "site"
    shutil.copytree(sites("tflite", "int8"), folder)
    (folder / "sw.js").unlink()  # it would refuse the changed model.json
    model = json.loads((folder / "model.json").read_text())
    model["labels"] = ["<img src=x onerror=document.title='run'>"] * 1000
    model["name"] = "<script>document.title='run'</script>"
    (folder / "model.json").write_text(json.dumps(model))
    picture = Image.effect_mandelbrot((300, 200), (-3, -2.5, 2, 2.5), 50).convert("RGB")
    picture.save(tmp_path / "<b>.png")
    with served(folder) as address, browser() as watched:
        ready(watched, address)
        watched.page.set_input_files("#file", tmp_path / "<b>.png")
        watched.page.wait_for_selector("#answers li:nth-child(5)", state="attached")
        assert "<img src=x" in watched.page.text_content("#answers")
        assert "<script>" in watched.text("#about")
        assert watched.text("#message") == "<b>.png"
        assert watched.page.title() != "run"
