"""Commands of child processes with this process's import path."""

from __future__ import annotations

import sys


def command(module: str, *arguments: str) -> list[str]:
    """The command that runs ``module`` with ``arguments``, as ``python -m``, on this import path.

    ``python -m`` searches the working folder first, where a user's ``json.py`` would replace the
    library's.
    """
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; import runpy; "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", code, *arguments]
