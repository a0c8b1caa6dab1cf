"""Progress of long tasks: bars on a terminal, a line in a notebook, nothing in pipes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

#: Callback with the arguments (name of the step, units done, total units).
Progress = Callable[[str, int, int], None]
#: Argument of public functions: a callback, None (bars in terminals and notebooks), or False.
ProgressOption = Progress | Literal[False] | None

#: Stack of consoles that currently show bars.
_bars: list[Any] = []
_WIDTH = 30  # length of a notebook's bar in characters
_PAUSE = 0.1  # seconds between updates of a notebook's bar


def ignore_progress(step: str, done: int, total: int) -> None:
    """Do nothing."""


@contextmanager
def reporting(progress: ProgressOption) -> Iterator[Progress]:
    """The progress callback of a public function: the caller's, or the callback of `bars`."""
    if progress is None:
        with bars() as report:
            yield report
    else:
        yield progress or ignore_progress


@contextmanager
def bars() -> Iterator[Progress]:
    """Progress bars in a notebook or in the terminal (standard error); nothing elsewhere."""
    display = _notebook()
    if display is not None:
        with _line(display) as report:
            yield report
    elif sys.stderr is None or not sys.stderr.isatty():
        yield ignore_progress
    else:
        with _terminal() as report:
            yield report


def say(text: str) -> None:
    """Print a line on standard error, above any progress bars."""
    if _bars:
        _bars[-1].print(text, markup=False, highlight=False, soft_wrap=True)
    elif sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


@contextmanager
def _terminal() -> Iterator[Progress]:
    """One terminal bar per step; the bars disappear at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bars(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as shown:
        tasks: dict[str, Any] = {}

        def report(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = shown.add_task(step, total=total)
            shown.update(tasks[step], completed=done, total=total)

        _bars.append(shown.console)
        try:
            yield report
        finally:
            _bars.pop()


@contextmanager
def _line(display: Any) -> Iterator[Progress]:
    """Progress in a notebook: one line of output that is updated in place.

    In a notebook, rich's bars would need the package ipywidgets, which is often missing.
    """
    start, last = time.monotonic(), -_PAUSE
    handle: Any = None
    step = ""

    def show(text: str) -> None:
        nonlocal handle
        content = {"text/plain": text}
        if handle is None:
            handle = display(content, raw=True, display_id=True)
        else:
            handle.update(content, raw=True)

    def report(name: str, done: int, total: int) -> None:
        nonlocal last, step
        now = time.monotonic()
        if now - last < _PAUSE and name == step and done < total:
            return
        last, step = now, name
        filled = round(_WIDTH * done / total) if total else _WIDTH
        bar = "█" * filled + "░" * (_WIDTH - filled)
        show(f"{name}  {bar}  {done}/{total}")

    yield report
    if handle is not None:
        show(f"done in {time.monotonic() - start:.0f} s")


def _notebook() -> Any:
    """IPython's ``display`` in a notebook kernel, else None; this module never imports IPython."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from importlib import import_module

    return import_module("IPython.display").display
