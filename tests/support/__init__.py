"""What tests share: small networks, photos, servers, recorded values.

``ROOT`` is the repository and ``RECORDED`` the folder of recorded values. ``PATH`` goes before
``sys.path`` in a Python process that a test starts: there the package comes before its tests.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).parent
PATH = (str(ROOT), str(ROOT / "tests"))
