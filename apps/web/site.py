"""Files of a static site that runs a model file in the visitor's browser.

`make` writes the files. Input normalisation is a table of 256 values per channel. The Python code
that preprocesses photos computes this table.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from edge_effnet import reading
from edge_effnet.answers import DEFAULT_RULE, SCENE_CHANGE, Rule, word_for_none
from edge_effnet.apps.archive import check_free, write_files
from edge_effnet.apps.web import icon, packages, selftest
from edge_effnet.card import ModelCard
from edge_effnet.classifier import Classifier
from edge_effnet.errors import UsageError
from edge_effnet.preprocess import Preprocess
from edge_effnet.progress import Progress
from edge_effnet.runtime.opening import open_model
from edge_effnet.runtime.tflite_verifier import parse
from edge_effnet.version import VERSION

_STATIC = (
    *("index.html", "style.css", "app.js", "camera.js", "engine.js", "preprocess.js"),
    *("keras_resizing.js", "smoothing.js", "worker.js", "sw.js"),
)
#: Format -> (script of the page, npm packages, name of the runtime, supported tensor types).
_RUNTIMES: dict[str, tuple[str, tuple[packages.Package, ...], str, frozenset[str]]] = {
    # LiteRT.js 2.5.3 supports float32, int32 and uint8 tensors (DATATYPES).
    "tflite": ("litert.js", packages.LITERT, "LiteRT.js", frozenset(["float32", "uint8"])),
    "onnx": (
        *("onnx.js", packages.ONNXRUNTIME, "ONNX Runtime Web"),
        frozenset(["float32", "uint8", "int8"]),
    ),
}
_ICONS = (192, 512)
#: Values of the enum TensorType in TFLite's schema.
_TENSOR_TYPES = {0: "float32", 3: "uint8", 9: "int8"}


def make(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    preprocess: Preprocess | None = None,
    rule: Rule = DEFAULT_RULE,
    progress: Progress = lambda step, done, total: None,
) -> dict[str, Any]:
    """Write the site of a .tflite or .onnx file to ``out``.

    Args:
        file: The model file.
        out: Output folder or .tar.gz archive.
        name: Title of the site.
        preprocess: Preprocessing, for a file without a card.
        rule: How the page turns probabilities into answers.
        progress: Called with (step, done, total) while npm fetches the browser's runtime.

    Returns:
        Summary of the site as plain data.

    Raises:
        DownloadError: The runtime cannot be fetched.
        UsageError: Browsers cannot run the file, or ``out`` is not empty.
        ModelFileError: The file cannot be opened.
        OutputError: The site cannot be written.
    """
    path = Path(file)
    kind = _format_of(path)
    check_free(out)
    classifier = open_model(path, threads=1, preprocess=preprocess)
    model = describe(classifier, reading.read_bytes(path), kind, name, rule)
    test, pixels = selftest.record(classifier)
    model["selftest"] = {**test, "integrity": _integrity(pixels)}
    module, pins, _, _ = _RUNTIMES[kind]
    runtime = packages.fetch_all(pins, progress)
    files = assemble(model, reading.read_bytes(path), pixels, module, pins, runtime)
    written = write_files(files, out)
    return {
        "site": str(written),
        "model": path.name,
        "name": model["name"],
        "packages": [package.pin for package in pins],
        "files": len(files),
        "bytes": sum(map(len, files.values())),
    }


def describe(
    classifier: Classifier,
    data: bytes,
    kind: str,
    name: str | None = None,
    rule: Rule = DEFAULT_RULE,
) -> dict[str, Any]:
    """Content of model.json: the description of the file that the page needs."""
    card, spec = classifier.card, classifier.runner.input
    _, pins, runtime, types = _RUNTIMES[kind]
    if spec.batch != 1:
        raise UsageError(
            f"{classifier.path} takes {spec.batch} images at once, and the page gives one",
            hint="export it with batch=1 or batch='dynamic'",
        )
    output = _output(data) if kind == "tflite" else {"dtype": "float32", "scale": None}
    for verb, dtype in (("takes", spec.dtype), ("gives", output["dtype"])):
        if dtype not in types:
            raise UsageError(
                f"{classifier.path} {verb} {dtype}, which {runtime} does not know",
                hint="export it with io='uint8' or io='float32'",
            )
    # All 256 byte values, uint8 [1, 256, 3], to be normalised like the pixels of a photo.
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    values = classifier.tensor(ramp)[0]
    table = values.reshape(3, 256) if spec.layout == "NCHW" else values.reshape(256, 3).T
    return {
        "name": name or _title(classifier),
        "file": f"model.{kind}",
        "format": kind,
        "bytes": len(data),
        "integrity": _integrity(data),
        "runtime": f"{runtime} {pins[0].version}",
        "input": {
            "dtype": spec.dtype,
            "layout": spec.layout,
            "size": card.preprocess.size,
            "table": table.tolist(),
            **_affine(card),
        },
        "output": output,
        "preprocess": {
            "size": card.preprocess.size,
            "crop": card.preprocess.crop,
            "interpolation": card.preprocess.interpolation,
            "crop_mode": card.preprocess.crop_mode,
            "resize_first": card.preprocess.resize_first,
            "fill": card.preprocess.border_colour,
        },
        "labels": list(card.labels),
        "activation": card.output_activation,
        "multi_label": card.multi_label,
        "probabilities": card.probabilities,
        **asdict(rule),
        "min_confidence": rule.least_confidence(len(card.labels)),
        "scene_change": SCENE_CHANGE,
        "unsure": word_for_none(card),
        "toolkit": f"edge-effnet {VERSION}",
    }


def _affine(card: ModelCard) -> dict[str, list[float]]:
    """Mean and std, rounded to float32, of a float input whose pixels are not rounded."""
    if card.preprocess.keras_filter is None:
        return {}
    plain = card.input == "pixels"
    mean, std = ((0.0,) * 3, (1.0,) * 3) if plain else (card.preprocess.mean, card.preprocess.std)
    return {"mean": _float32(mean), "std": _float32(std)}


def _float32(values: tuple[float, ...]) -> list[float]:
    return [float(np.float32(value)) for value in values]


def assemble(
    model: Mapping[str, Any],
    data: bytes,
    pixels: bytes,
    module: str,
    pins: tuple[packages.Package, ...],
    runtime: Mapping[str, bytes],
) -> dict[str, bytes]:
    """The site's files by path; the service worker contains the sha256 of each file."""
    name = str(model["name"])
    files = {path: _static(path) for path in (*_STATIC, module)}
    files["index.html"] = files["index.html"].replace(b"@NAME@", html.escape(name).encode())
    files |= {f"icon-{side}.png": icon.draw(side) for side in _ICONS}
    files["manifest.webmanifest"] = _json(_manifest(name))
    files["model.json"] = _json(model)
    files[str(model["file"])] = data
    files[selftest.FILE] = pixels
    at_once = sorted(set(files) - {"sw.js"})
    files |= {f"runtime/{path}": content for path, content in runtime.items()}
    files["sw.js"] = _service_worker(files, at_once)
    files["LICENCES.txt"] = _licences(pins).encode()
    return files


def _format_of(path: Path) -> str:
    kind = path.suffix.lower().removeprefix(".")
    if kind == "xml":
        raise UsageError(
            f"{path} is an OpenVINO model, and OpenVINO does not run in browsers: give the .tflite "
            "or the .onnx of the same export"
        )
    if kind not in _RUNTIMES:
        raise UsageError(f"{path} is none of .tflite, .onnx; give an exported model file")
    return kind


def _title(classifier: Classifier) -> str:
    """``EfficientNet-Lite0 int8``; for a file without a card, the file's name."""
    card = classifier.card
    if card.variant == "unknown":
        return Path(classifier.path).stem
    family, *suffixes = card.variant.split("-")
    family = family.replace("efficientnet", "EfficientNet").replace("v2", "V2")
    titled = [{"edgetpu": "EdgeTPU"}.get(word, word.capitalize()) for word in suffixes]
    return f"{'-'.join([family, *titled])} {card.precision}"


def _output(data: bytes) -> dict[str, Any]:
    """Type, scale and zero point of the output of a verified .tflite file."""
    graph = parse(data)["subgraphs"][0]
    tensor = graph["tensors"][graph["outputs"][0]]
    dtype = _TENSOR_TYPES.get(tensor["type"], "unknown")
    quantization = tensor["quantization"]
    if dtype == "float32" or quantization is None or not len(quantization["scale"]):
        return {"dtype": dtype, "scale": None}
    zero = quantization["zero_point"]
    return {
        "dtype": dtype,
        "scale": float(quantization["scale"][0]),
        "zero_point": int(zero[0]) if len(zero) else 0,
    }


def _manifest(name: str) -> dict[str, Any]:
    icons = [
        {"src": f"icon-{side}.png", "sizes": f"{side}x{side}", "type": "image/png", "purpose": use}
        for side in _ICONS
        for use in ("any", "maskable")
    ]
    return {
        "name": name,
        "short_name": name[:24],
        "id": "./",
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "background_color": "#111418",
        "theme_color": "#111418",
        "icons": icons,
    }


def _service_worker(files: Mapping[str, bytes], at_once: list[str]) -> bytes:
    listed = {path: _integrity(data) for path, data in sorted(files.items()) if path != "sw.js"}
    version = hashlib.sha256(json.dumps(listed).encode() + files["sw.js"]).hexdigest()[:16]
    source = files["sw.js"].decode()
    for constant, value in (("FILES", listed), ("AT_ONCE", at_once), ("VERSION", version)):
        empty = {"FILES": "{}", "AT_ONCE": "[]", "VERSION": '""'}[constant]
        before, after = f"const {constant} = {empty};", f"const {constant} = {json.dumps(value)};"
        if source.count(before) != 1:
            raise ValueError(f"sw.js has no place for {constant}")
        source = source.replace(before, after)
    return source.encode()


def _integrity(data: bytes) -> str:
    """Value of the HTML attribute ``integrity`` (w3.org/TR/SRI) for ``data``."""
    return "sha256-" + base64.b64encode(hashlib.sha256(data).digest()).decode()


def _licences(pins: tuple[packages.Package, ...]) -> str:
    lines = [
        f"This site was made by edge-effnet {VERSION} (Apache-2.0). It brings, unchanged but for "
        "one import path:\n"
    ]
    lines += [f"{package.pin}  {package.licence}  {package.source}\n" for package in pins]
    if any(package.licence == "MIT" for package in pins):
        lines.append("\n" + _static("mit.txt").decode())
    return "".join(lines)


def _static(file: str) -> bytes:
    return resources.files("edge_effnet.apps.web").joinpath("static", file).read_bytes()


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, separators=(",", ":")) + "\n").encode()
