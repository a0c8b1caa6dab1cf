"""Command lines of child processes that share this process's import path."""

from __future__ import annotations

import sys


def command(module: str, *arguments: str, limited_to: int | None = None) -> list[str]:
    """Command that runs ``module`` with ``arguments`` and the import path of this process.

    It replaces ``python -m``, which searches the working folder first. There, a user's ``json.py``
    would replace the standard library's module.

    Args:
        module: Dotted name of the module.
        arguments: Its arguments.
        limited_to: Number of bytes that the process is to read: it gets `limits` by them.
    """
    limits = f"from edge_effnet import limits; limits.apply({limited_to}); "
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; import runpy; "
        f"{'' if limited_to is None else limits}"
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", code, *arguments]
