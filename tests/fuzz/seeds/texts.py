"""JSON and CSV files: cards, results, journals, trainings, labels, latency models."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from fuzz import tiny
from fuzz.seeds import Seed


def card() -> list[Seed]:
    from edge_effnet.card import CalibrationRecord, Quantization

    info = tiny.model().info
    record = CalibrationRecord(2, 4, "0" * 64, (("a.jpg", "1" * 64),), 3)
    quantization = Quantization(
        "edge-effnet", "default", record, True, False, False, ("stem",), 0.1
    )
    cards = (info.card(), info.card(precision="int8", input="pixels", quantization=quantization))
    return [{"card.json": each.to_json().encode()} for each in cards]


def results() -> list[Seed]:
    from support.result_records import WHOLE

    counts = {"class_images": (3, 4), "class_right": (2, 4)}
    records = tuple(record.with_(**counts) for record in WHOLE)
    counted = replace(WHOLE, classes=("cat", "dog"), records=records)
    return [{"results.json": each.to_json().encode()} for each in (WHOLE, counted)]


def latency_model() -> list[Seed]:
    from support.latency_models import latency_model as model
    from support.latency_models import runtime

    coefficients = {"pointwise__multiply_adds": 0.01, "depthwise__elements": 0.02, "calls": 0.001}
    with tempfile.TemporaryDirectory() as folder:
        path = model(runtime(**coefficients), runtime("fp32", **coefficients)).save(
            Path(folder) / "m.json"
        )
        return [{"device.json": path.read_bytes()}]


def journal() -> list[Seed]:
    lines: list[Any] = [{"schema": 2}]
    lines += [{"key": f"k{n}", "result": {"files": [["a", 1]], "classes": ["x"]}} for n in range(3)]
    return [{"journal.jsonl": b"".join(json.dumps(line).encode() + b"\n" for line in lines)}]


def class_names() -> list[Seed]:
    names = tiny.LABELS
    indices = {str(n): name for n, name in enumerate(names)}
    forms: dict[str, Any] = {
        "names.txt": "\n".join(names),
        "indexed.txt": "\n".join(f"{n}: {name}" for n, name in enumerate(names)),
        "names.json": json.dumps(list(names)),
        "indices.json": json.dumps(indices),
        "config.json": json.dumps({"id2label": indices, "model_type": "x"}),
        "names.csv": "index,name\n" + "\n".join(f"{n},{name}" for n, name in enumerate(names)),
        "names.tsv": "\n".join(f"{n}\t{name}" for n, name in enumerate(names)),
    }
    return [{name: text.encode()} for name, text in forms.items()]


def photo_labels() -> list[Seed]:
    """Tables of the photos `photo-0.png` to `photo-5.png`, which stand beside them."""
    tables = {
        "labels.csv": ("file,label,split", [f"{n % 5},test" for n in range(6)]),
        "names.csv": ("file,label", [tiny.LABELS[n % 5] for n in range(6)]),
        "multi.csv": ("file,labels", ["cat|dog"] * 6),
        "columns.csv": (f"file,{','.join(tiny.LABELS)}", ["0,1,0,0,1"] * 6),
    }
    return [
        {name: "\n".join((header, *(f"photo-{n}.png,{r}" for n, r in enumerate(rows)))).encode()}
        for name, (header, rows) in tables.items()
    ]


@cache
def training() -> list[Seed]:
    """The records of a training; each is the one that changes."""
    from support.training_runs import colour_run

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        colour_run(folder, parts=("train", "val", "test"), repeats=1)
        texts = {
            path.name: path.read_bytes().replace(str(folder).encode(), b"run")
            for path in sorted(folder.iterdir())
            if path.suffix in (".json", ".csv") and path.stat().st_size < 20_000
        }
    return [
        {first: texts[first], **{key: text for key, text in texts.items() if key != first}}
        for first in texts
    ]
