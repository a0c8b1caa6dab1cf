"""The page's scripts as modules that Node.js runs."""

from __future__ import annotations

import re
from pathlib import Path

from edge_effnet.apps.web import site

STATIC = Path(site.__file__).with_name("static")


def scripts(folder: Path, *names: str) -> None:
    """Copy scripts of the page to ``folder`` as .mjs files that import each other."""
    for name in names:
        script = re.sub(r'"\./(\w+)\.js"', r'"./\1.mjs"', (STATIC / f"{name}.js").read_text())
        (folder / f"{name}.mjs").write_text(script)
