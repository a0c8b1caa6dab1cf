"""Golden digests: that files, results and selections are, byte for byte, what they were.

python -m tests.support.golden_digests --write       records golden_digests.json anew
python -m tests.support.golden_digests --plans FILE  solves plans and writes their digests, which
                                                     depend on the processor: compare two states
                                                     on one machine
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from . import golden_figures, golden_files

RECORDED = Path(__file__).with_name("golden_digests.json")
#: Packages that write a part of each file: other versions may give other bytes.
WRITERS = ("flatbuffers", "onnx", "openvino")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def card_content(text: str) -> dict[str, Any]:
    """The card without the project's version; of its labels the number and a digest."""
    content = json.loads(text)
    content.pop("toolkit")
    labels = content["labels"]
    content["labels"] = f"{len(labels)}, sha256 {sha256(json.dumps(labels).encode())}"
    return content


def group_digests(group: str) -> dict[str, dict[str, Any]]:
    """File -> ``network``, the digest of its bytes with a constant card, and its ``card``."""
    return {
        name: {"network": sha256(golden.data), "card": card_content(golden.card)}
        for name, golden in golden_files.GROUPS[group]().items()
    }


def figure_digests() -> dict[str, Any]:
    """What was figured -> its digest; the selections' choices in full."""
    figures: Mapping[str, Any] = golden_figures.rounded(golden_figures.figures())
    found: dict[str, Any] = {
        name: sha256(json.dumps(content, sort_keys=True).encode())
        for name, content in figures.items()
    }
    choices = figures["selections"]
    found["choices"] = {
        limits: made["choice"] and made["choice"]["file"] for limits, made in choices.items()
    }
    return found


def versions() -> dict[str, str]:
    return {name: version(name) for name in WRITERS}


def recorded() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(RECORDED.read_text("utf-8"))
    return content


def record() -> None:
    """Write golden_digests.json, a line for each file."""
    groups = []
    for group in golden_files.GROUPS:
        entries = group_digests(group).items()
        lines = [
            f"{json.dumps(name)}: {json.dumps(entry, sort_keys=True)}" for name, entry in entries
        ]
        groups.append(f'"{group}": {{\n' + ",\n".join(lines) + "\n}")
    text = ",\n".join(groups)
    RECORDED.write_text(
        f'{{\n"writers": {json.dumps(versions())},\n"files": {{\n{text}\n}},\n'
        f'"figures": {json.dumps(figure_digests(), indent=0)}\n}}\n',
        "utf-8",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Record golden digests.")
    parser.add_argument("--write", action="store_true", help="record golden_digests.json anew")
    parser.add_argument("--plans", type=Path, help="write the digests of solved plans here")
    chosen = parser.parse_args()
    if chosen.write:
        record()
    if chosen.plans:
        from . import golden_plans

        text = json.dumps(golden_plans.plans(), indent=1)
        chosen.plans.write_text(f"{text}\n", "utf-8")


if __name__ == "__main__":
    main()
