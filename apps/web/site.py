"""Model file -> the files of a static site that runs it in the visitor's browser.

`make` writes them. The page does nothing that Python could do for it: how a pixel becomes an input
value is a table of 256 numbers a channel, written down here by the same code that runs the file.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from edge_effnet.apps.archive import check_free, write_tree
from edge_effnet.apps.web import icon, packages
from edge_effnet.classifier import THRESHOLD, Classifier
from edge_effnet.errors import UsageError
from edge_effnet.preprocess import Preprocess
from edge_effnet.progress import Progress
from edge_effnet.runtime.opening import open_model
from edge_effnet.runtime.tflite_verifier import parse
from edge_effnet.version import VERSION

_STATIC = (
    *("index.html", "style.css", "app.js", "camera.js", "engine.js", "preprocess.js"),
    *("worker.js", "sw.js"),
)
#: Format -> the module that runs it, its packages, the runtime's name, and the types it takes.
_RUNTIMES: dict[str, tuple[str, tuple[packages.Package, ...], str, frozenset[str]]] = {
    # LiteRT.js 2.5.3 knows float32, int32 and uint8 (its DATATYPES).
    "tflite": ("litert.js", packages.LITERT, "LiteRT.js", frozenset(["float32", "uint8"])),
    "onnx": (
        *("onnx.js", packages.ONNXRUNTIME, "ONNX Runtime Web"),
        frozenset(["float32", "uint8", "int8"]),
    ),
}
_ICONS = (192, 512)
#: Enum TensorType of TFLite's schema.
_TENSOR_TYPES = {0: "float32", 3: "uint8", 9: "int8"}


def make(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    preprocess: Preprocess | None = None,
    progress: Progress = lambda step, done, total: None,
) -> dict[str, Any]:
    """Write the site of a .tflite or .onnx file to ``out``, a folder or .tar.gz; say what is in it.

    ``name`` is the site's title, ``preprocess`` describes the input of a file without a card. The
    browser's runtime is fetched with npm: raises `DownloadError` if it cannot be, `UsageError` for
    a file that no browser runs, and what `open_model` and `write_tree` raise.
    """
    path = Path(file)
    kind = _format_of(path)
    check_free(out)
    classifier = open_model(path, threads=1, preprocess=preprocess)
    model = describe(classifier, path.read_bytes(), kind, name)
    module, pins, _, _ = _RUNTIMES[kind]
    runtime = packages.fetch_all(pins, progress)
    tree = assemble(model, path.read_bytes(), module, pins, runtime)
    written = write_tree(tree, out)
    return {
        "site": str(written),
        "model": path.name,
        "name": model["name"],
        "packages": [package.pin for package in pins],
        "files": len(tree),
        "bytes": sum(map(len, tree.values())),
    }


def describe(
    classifier: Classifier, data: bytes, kind: str, name: str | None = None
) -> dict[str, Any]:
    """The content of model.json: all that the page needs to know of the file."""
    card, spec = classifier.card, classifier.runner.input
    _, pins, runtime, types = _RUNTIMES[kind]
    output = _output(data) if kind == "tflite" else {"dtype": "float32", "scale": None}
    for what, dtype in (("takes", spec.dtype), ("gives", output["dtype"])):
        if dtype not in types:
            raise UsageError(
                f"{classifier.path} {what} {dtype}, which {runtime} does not know",
                hint="export it with io='uint8' or io='float32'",
            )
    # Every value that a byte can have, through the code that prepares photos: [1, 256, 3].
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
        },
        "output": output,
        "preprocess": {
            "size": card.preprocess.size,
            "crop": card.preprocess.crop,
            "interpolation": card.preprocess.interpolation,
            "crop_mode": card.preprocess.crop_mode,
            "fill": card.preprocess.border_colour,
        },
        "labels": list(card.labels),
        "activation": card.output_activation,
        "multi_label": card.multi_label,
        "threshold": THRESHOLD,
        "toolkit": f"edge-effnet {VERSION}",
    }


def assemble(
    model: Mapping[str, Any],
    data: bytes,
    module: str,
    pins: tuple[packages.Package, ...],
    runtime: Mapping[str, bytes],
) -> dict[str, bytes]:
    """The site's files by path; the service worker knows them all by their sha256."""
    name = str(model["name"])
    tree = {file: _static(file) for file in (*_STATIC, module)}
    tree["index.html"] = tree["index.html"].replace(b"@NAME@", html.escape(name).encode())
    tree |= {f"icon-{side}.png": icon.draw(side) for side in _ICONS}
    tree["manifest.webmanifest"] = _json(_manifest(name))
    tree["model.json"] = _json(model)
    tree[str(model["file"])] = data
    at_once = sorted(set(tree) - {"sw.js"})
    tree |= {f"runtime/{file}": content for file, content in runtime.items()}
    tree["sw.js"] = _service_worker(tree, at_once)
    tree["LICENCES.txt"] = _licences(pins).encode()
    return tree


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
    """``EfficientNet-Lite0 int8``; of a file without a card its name."""
    card = classifier.card
    if card.variant == "unknown":
        return Path(classifier.path).stem
    family, *rest = card.variant.split("-")
    family = family.replace("efficientnet", "EfficientNet").replace("v2", "V2")
    words = [{"edgetpu": "EdgeTPU"}.get(word, word.capitalize()) for word in rest]
    return f"{'-'.join([family, *words])} {card.precision}"


def _output(data: bytes) -> dict[str, Any]:
    """Type, scale and zero point of a checked .tflite file's one output."""
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


def _service_worker(tree: Mapping[str, bytes], at_once: list[str]) -> bytes:
    listed = {file: _integrity(data) for file, data in sorted(tree.items()) if file != "sw.js"}
    version = hashlib.sha256(json.dumps(listed).encode() + tree["sw.js"]).hexdigest()[:16]
    source = tree["sw.js"].decode()
    for constant, value in (("FILES", listed), ("AT_ONCE", at_once), ("VERSION", version)):
        empty = {"FILES": "{}", "AT_ONCE": "[]", "VERSION": '""'}[constant]
        before, after = f"const {constant} = {empty};", f"const {constant} = {json.dumps(value)};"
        if source.count(before) != 1:
            raise ValueError(f"sw.js has no place for {constant}")
        source = source.replace(before, after)
    return source.encode()


def _integrity(data: bytes) -> str:
    """As the attribute ``integrity`` of w3.org/TR/SRI states it."""
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
