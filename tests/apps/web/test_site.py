"""The site for browsers: what is in it, that it prepares photos as we do, and its errors.

The browser itself is driven by tests/clients ('make clients').
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edge_effnet
from edge_effnet.apps.web import packages, site
from edge_effnet.errors import UsageError
from support import command
from support.command import call, file, refused
from support.page_scripts import STATIC, scripts

pytest.importorskip("ai_edge_litert", reason="the file is run once when the site is made")
pytest.importorskip("onnxruntime", reason="the file is run once when the site is made")

CORE = b'import { createWasmLib } from "@litertjs/wasm-utils";\n'
KINDS = [(precision, suffix) for precision in ("int8", "fp32") for suffix in (".tflite", ".onnx")]


def made_up(package: packages.Package) -> dict[str, bytes]:
    """Stands for what npm brings: the same names, other content."""
    found = {name: f"// {name}".encode() for name in package.files.values()}
    return found | ({"index.js": CORE} if "index.js" in found else {})


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "fetch", made_up)


@pytest.mark.parametrize(("precision", "suffix"), KINDS)
def test_what_is_inside(precision: str, suffix: str, tmp_path: Path) -> None:
    model = file(precision, suffix)
    found = site.make(model, tmp_path / "site", name="<b>Cats & dogs</b>")
    folder = tmp_path / "site"
    inside = command.contents(folder)
    assert found["files"] == len(inside)
    assert found["bytes"] == sum((folder / name).stat().st_size for name in inside)
    assert (folder / f"model{suffix}").read_bytes() == model.read_bytes()
    page = (folder / "index.html").read_text()
    assert "<b>Cats" not in page
    assert page.count("&lt;b&gt;Cats &amp; dogs&lt;/b&gt;") == 2
    manifest = json.loads((folder / "manifest.webmanifest").read_text())
    assert manifest["name"] == "<b>Cats & dogs</b>"
    for icon in manifest["icons"]:
        assert "x".join(map(str, Image.open(folder / icon["src"]).size)) == icon["sizes"]
    runtime = {name for package in packages_of(suffix) for name in package.files.values()}
    assert {name for name in inside if name.startswith("runtime/")} == {
        f"runtime/{name}" for name in runtime
    }
    for package in packages_of(suffix):
        assert package.pin in (folder / "LICENCES.txt").read_text()


def packages_of(suffix: str) -> tuple[packages.Package, ...]:
    return packages.LITERT if suffix == ".tflite" else packages.ONNXRUNTIME


def test_the_service_worker_knows_every_file(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    site.make(file("int8", ".tflite"), folder)
    source = (folder / "sw.js").read_text()
    listed, at_once = (
        json.loads(re.search(rf"const {name} = (.*?);", source)[1])  # type: ignore[index]
        for name in ("FILES", "AT_ONCE")
    )
    assert sorted(listed) == sorted(set(command.contents(folder)) - {"sw.js", "LICENCES.txt"})
    for name, integrity in listed.items():
        digest = hashlib.sha256((folder / name).read_bytes()).digest()
        assert integrity == f"sha256-{base64.b64encode(digest).decode()}"
    assert {"index.html", "model.tflite", "worker.js", "manifest.webmanifest"} <= set(at_once)
    assert set(at_once) <= set(listed)
    assert json.loads((folder / "model.json").read_text())["integrity"] == listed["model.tflite"]


def test_the_self_test_has_the_answers_of_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    site.make(file("fp32", ".onnx"), folder)
    test = json.loads((folder / "model.json").read_text())["selftest"]
    data = (folder / test["file"]).read_bytes()
    assert test["integrity"] == "sha256-" + base64.b64encode(hashlib.sha256(data).digest()).decode()
    classify = edge_effnet.open(file("fp32", ".onnx"))
    side = classify.card.preprocess.size
    pixels = np.frombuffer(data, np.uint8).reshape(side, side, 3)
    assert pixels.std() > 20
    np.testing.assert_allclose(test["logits"], classify.logits_of_batch([pixels])[0], rtol=1e-5)
    site.make(file("int8", ".onnx"), tmp_path / "int8")
    integer = json.loads((tmp_path / "int8" / "model.json").read_text())["selftest"]
    assert integer["limit"] > test["limit"] > 0


def test_a_changed_file_is_another_version(tmp_path: Path) -> None:
    versions = []
    for name, model in (("a", "int8"), ("b", "int8"), ("c", "fp32")):
        site.make(file(model, ".tflite"), tmp_path / name)
        source = (tmp_path / name / "sw.js").read_text()
        versions.append(re.search(r'const VERSION = "(\w{16})"', source)[1])  # type: ignore[index]
    assert versions[0] == versions[1] != versions[2]
    for name in command.contents(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_nothing_comes_from_elsewhere() -> None:
    for path in STATIC.iterdir():
        if path.name != "mit.txt":
            assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w+/", path.read_text()), path
    page = (STATIC / "index.html").read_text()
    assert "default-src 'none'" in page
    assert "unsafe-inline" not in page
    assert " onclick=" not in page


@pytest.mark.parametrize(("precision", "suffix"), KINDS)
def test_the_table_is_what_the_classifier_feeds(precision: str, suffix: str) -> None:
    path = file(precision, suffix)
    classifier = edge_effnet.open(path, threads=1)
    model = json.loads(json.dumps(site.describe(classifier, path.read_bytes(), suffix[1:])))
    side = classifier.card.preprocess.size
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    fed = classifier.tensor(pixels)
    table = np.array(model["input"]["table"], fed.dtype)
    looked_up = np.stack([table[channel][pixels[..., channel]] for channel in range(3)], axis=-1)
    if model["input"]["layout"] == "NCHW":
        looked_up = looked_up.transpose(2, 0, 1)
    np.testing.assert_array_equal(looked_up[None], fed)
    assert model["input"]["dtype"] == str(fed.dtype)


def test_integer_outputs_keep_their_scale() -> None:
    path = file("int8", ".tflite")
    output = site.describe(edge_effnet.open(path), path.read_bytes(), "tflite")["output"]
    assert output["dtype"] == "uint8"
    from ai_edge_litert.interpreter import Interpreter

    (detail,) = Interpreter(model_path=str(path)).get_output_details()
    assert (output["scale"], output["zero_point"]) == pytest.approx(detail["quantization"])


_ANSWERS = """
import { readFileSync, writeFileSync } from "node:fs";
import { best, unsure, valuesOf } from "./engine.mjs";
const asked = JSON.parse(readFileSync("asked.json"));
const found = asked.map(({ outputs, model }) => {
    const answers = best(valuesOf(Float32Array.from(outputs), model), model, 2);
    return { answers, unsure: unsure(answers, model) };
});
writeFileSync("answers.json", JSON.stringify(found));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_page_reads_outputs_as_the_classifier_does(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    cases: list[tuple[list[float], dict[str, Any], list[tuple[str, float]]]] = [
        ([0.0, 2.0, 1.0], {"activation": "softmax"}, [("b", 0.665241), ("c", 0.244728)]),
        ([-2.0], {"activation": "sigmoid"}, [("a", 0.880797), ("b", 0.119203)]),
        ([0.0, 2.0, -1.0], {"activation": "sigmoid", "multi_label": True},
         [("b", 0.880797), ("a", 0.5)]),
        ([-1.0, -2.0, -3.0], {"activation": "sigmoid", "multi_label": True}, []),
        ([0.25], {"activation": "sigmoid", "probabilities": True}, [("a", 0.75), ("b", 0.25)]),
        ([0.1, 0.7, 0.2], {"activation": "softmax", "probabilities": True},
         [("b", 0.7), ("c", 0.2)]),
        ([41.5], {"activation": "none"}, [("a", 41.5)]),
    ]  # fmt: skip
    asked = [
        {
            "outputs": outputs,
            "model": {"labels": names, "threshold": 0.5, "min_confidence": 0.7} | model,
        }
        for outputs, model, _ in cases
    ]
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    (tmp_path / "run.mjs").write_text(_ANSWERS)
    scripts(tmp_path, "engine", "preprocess", "keras_resizing", "smoothing")
    subprocess.run(["node", "run.mjs"], cwd=tmp_path, check=True, timeout=400)
    answers = json.loads((tmp_path / "answers.json").read_text())
    for (_, _, wanted), answer in zip(cases, answers, strict=True):
        assert [
            (each["label"], pytest.approx(each["value"], abs=1e-6)) for each in answer["answers"]
        ] == wanted
    unsure = [answer["unsure"] for answer in answers]
    assert unsure == [True, False, False, True, False, True, False]


_SMOOTHING = """
import { readFileSync, writeFileSync } from "node:fs";
import { cells, smoother } from "./smoothing.mjs";
const { frames, rule } = JSON.parse(readFileSync("frames.json"));
const smooth = smoother(rule);
const found = frames.map(({ file, width, height, values, seconds }) => {
    const means = cells({ data: readFileSync(file), width, height });
    return { cells: Array.from(means), values: smooth(values, means, seconds) };
});
writeFileSync("smoothed.json", JSON.stringify(found));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_page_smooths_as_the_camera_does(tmp_path: Path) -> None:
    """Equal cells, probabilities and restarts, on frames of one scene and of others."""
    pytest.importorskip("cv2", reason="the camera needs the extra 'camera'")
    from edge_effnet.answers import SCENE_CHANGE, Rule
    from edge_effnet.apps.camera.answers.answering import Answering
    from edge_effnet.apps.camera.answers.scene_change import cells
    from edge_effnet.apps.camera.frames import Frame, Prediction, Result

    rng = np.random.default_rng(3)
    rule = Rule(smoothing=0.4)
    answering = Answering([edge_effnet.open(file("int8", ".tflite")).card], rule)
    frames, wanted = [], []
    for number in range(12):
        image = rng.integers(0, 60, (61, 83, 3), np.uint8) + np.uint8(number // 5 * 70)
        values = rng.dirichlet(np.ones(10)).astype(np.float32)
        seconds = number * 0.13
        (tmp_path / f"{number}.rgba").write_bytes(
            np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]).tobytes()
        )
        frames.append({"file": f"{number}.rgba", "width": 83, "height": 61,
                       "values": values.tolist(), "seconds": seconds})  # fmt: skip
        result = Result(Frame(image, number, 0.0, seconds), (Prediction(0, values, 0.0),), 0.0, 0.0)
        wanted.append((cells(image), answering(result)[0].probabilities, values))
    description = {"smoothing": rule.smoothing, "scene_change": SCENE_CHANGE}
    (tmp_path / "frames.json").write_text(json.dumps({"frames": frames, "rule": description}))
    (tmp_path / "run.mjs").write_text(_SMOOTHING)
    shutil.copy(STATIC / "smoothing.js", tmp_path / "smoothing.mjs")
    subprocess.run(["node", "run.mjs"], cwd=tmp_path, check=True, timeout=400)
    smoothed = json.loads((tmp_path / "smoothed.json").read_text())
    for each, (means, probabilities, _) in zip(smoothed, wanted, strict=True):
        np.testing.assert_allclose(each["cells"], means.ravel(), atol=1e-9)
        np.testing.assert_allclose(each["values"], probabilities, atol=1e-6)
    restarts = [bool(np.allclose(p, v, atol=1e-6)) for _, p, v in wanted]
    assert [number for number, fresh in enumerate(restarts) if fresh] == [0, 5, 10]


# Bad input


def test_files_that_no_browser_runs(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("")
    (tmp_path / "broken.tflite").write_bytes(b"broken")
    for path, said in (
        (file("int8", ".xml"), "OpenVINO does not run in browsers"),
        (tmp_path / "model.txt", "none of .tflite, .onnx"),
        (tmp_path / "none.onnx", "there is no file"),
        (tmp_path / "broken.tflite", "broken.tflite"),
    ):
        assert said in refused(call("web", path, "--out", tmp_path / "site"))
        assert not (tmp_path / "site").exists()


def test_int8_ends_are_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    from support import tflite_models as small

    model = small.model_of(small.LITE)
    model = replace(model, info=replace(model.info, source=edge_effnet.card.Source("r", "r", "")))
    (path,) = edge_effnet.export(
        model, formats=["tflite"], precisions=["int8"], calibration=command.photos(),
        out=tmp_path, io="int8", notify=lambda text: None,
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"takes int8, which LiteRT.js does not know.*io='uint8'"):
        site.make(path, tmp_path / "site")


def test_a_fixed_batch_is_refused(tmp_path: Path) -> None:
    """The page would give one image to a file that takes three."""
    from support import tflite_models as small

    (path,) = edge_effnet.export(
        small.model_of(small.LITE), formats=["onnx"], precisions=["fp32"], batch=3, out=tmp_path
    )
    with pytest.raises(UsageError, match=r"takes 3 images at once.*batch=1"):
        site.make(path, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_full_folder_is_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "fetch", lambda package: pytest.fail("fetched"))
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="is not empty"):
        site.make(file("int8", ".tflite"), tmp_path)
    assert command.contents(tmp_path) == ["mine.txt"]


def test_the_command(tmp_path: Path) -> None:
    words = ("web", file("int8", ".tflite"), "--out", tmp_path / "site")
    text = command.done(call(*words))
    assert "http.server" in text
    archive = ("web", file("int8", ".onnx"), "--out", tmp_path / "s.tar.gz", "--json", "-")
    told = json.loads(command.done(call(*archive)))
    assert told["packages"] == ["onnxruntime-web@1.30.0"]
    with tarfile.open(tmp_path / "s.tar.gz") as packed:
        assert "s/index.html" in packed.getnames()
    assert "tiny-lite" in told["model"]


def test_nothing_is_imported_for_it() -> None:
    code = (
        "import sys, edge_effnet.commands.web;"
        "assert not {'numpy', 'PIL', 'edge_effnet.apps'} & set(sys.modules)"
    )
    subprocess.run([os.sys.executable, "-c", code], check=True)
