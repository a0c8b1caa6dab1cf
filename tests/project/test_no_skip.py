"""EDGE_EFFNET_NO_SKIP: whatever would be skipped fails, with its reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import PATH

FILES = {
    "test_call.py": "def test_it():\n    pytest.skip('no camera')",
    "test_mark.py": "@pytest.mark.skipif(True, reason='no camera')\ndef test_it():\n    pass",
    "test_file.py": "pytest.importorskip('no_such_module', reason='no camera')",
}


@pytest.mark.parametrize("value", ["", "1"])
def test_skips_are_failures(value: str, tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(f"import pytest\n\n{text}\n")
    (tmp_path / "test_fine.py").write_text("def test_it():\n    pass\n")
    variables = {
        "EDGE_EFFNET_NO_SKIP": value,
        "PYTHONPATH": os.pathsep.join(PATH),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    options = ["-p", "support.no_skip", "--continue-on-collection-errors", "--rootdir", tmp_path]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tmp_path],
        cwd=tmp_path,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    # How often pytest prints a reason depends on the variable CI.
    assert ("did not run: Skipped: no camera" in done.stdout) == bool(value), done.stdout
    assert ("1 failed, 1 passed, 2 errors" if value else "1 passed, 3 skipped") in done.stdout
