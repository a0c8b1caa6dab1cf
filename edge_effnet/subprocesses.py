"""Command lines of child processes that share this process's import path."""

from __future__ import annotations

import sys


def command(module: str, *arguments: str) -> list[str]:
    """Command that runs ``module`` with ``arguments`` and the import path of this process.

    It replaces ``python -m``, which searches the working folder first. There, a user's ``json.py``
    would replace the standard library's module.
    """
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; import runpy; "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", code, *arguments]
