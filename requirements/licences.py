"""The licences of the locked packages that are installed here, as a table on standard output."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

NAME = re.compile(r"^([\w.-]+)(?:\[[^]]*\])?==", re.MULTILINE)
_LONGEST = 80  # characters of a licence's name; some packages give its whole text


def licence(package: str) -> tuple[str, str]:
    """Version and licence of an installed package."""
    content = metadata(package)
    classifiers = [
        each.rpartition(" :: ")[2]
        for each in content.get_all("Classifier", [])
        if each.startswith("License ::") and not each.endswith("OSI Approved")
    ]
    text = content.get("License-Expression") or ", ".join(classifiers) or content.get("License", "")
    return content["Version"], (text.strip().splitlines() or ["not stated"])[0][:_LONGEST]


def main() -> None:
    """Print a line for each package of the locks."""
    names = set()
    for lock in Path(__file__).parent.glob("*.lock"):
        names |= set(NAME.findall(lock.read_text("utf-8")))
    sys.stdout.write("# Licences of the locked packages\n\nMade by `make licences`.\n\n")
    sys.stdout.write("| package | version | licence |\n|---|---|---|\n")
    for name in sorted(names, key=str.lower):
        try:
            version, text = licence(name)
        except PackageNotFoundError:  # of another platform, or of another lock
            continue
        sys.stdout.write(f"| {name} | {version} | {text.replace('|', '/')} |\n")


if __name__ == "__main__":
    main()
