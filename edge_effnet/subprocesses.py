"""Child processes that import what this process would."""

from __future__ import annotations

import sys


def command(module: str, *arguments: str) -> list[str]:
    """The command that runs ``module`` with ``arguments``, as ``python -m`` would, on our own path.

    ``python -m`` itself looks into the working folder first, and a user's ``json.py`` there would
    run in place of the library's.
    """
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; import runpy; "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", code, *arguments]
