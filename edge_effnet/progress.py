"""Progress of long tasks: bars on a terminal, a line in a notebook, nothing in pipes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

from edge_effnet.printable import message

#: Callback with the arguments (name of the step, units done, total units).
Progress = Callable[[str, int, int], None]
#: Argument of public functions: a callback, None (bars in terminals and notebooks), or False.
ProgressOption = Progress | Literal[False] | None

#: Stack of the bars that are currently shown.
_bars: list[_Bars] = []


class _Bars(Protocol):
    """Bars of a terminal or a notebook."""

    def print(self, text: str) -> None:
        """Print a line above the bars."""

    def describe(self, step: str, text: str) -> None:
        """Show ``text`` beside the bar of ``step``."""


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
    shown: _Notebook | _Terminal
    if display is not None:
        shown = _Notebook(display)
    elif sys.stderr is None or not sys.stderr.isatty():
        yield ignore_progress
        return
    else:
        shown = _Terminal()
    with shown:
        yield shown.report


def say(text: str) -> None:
    """Print a line on standard error, above any progress bars."""
    text = message(text)
    if _bars:
        _bars[-1].print(text)
    elif sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


def describe(step: str, text: str) -> None:
    """Show ``text`` beside the bar of ``step``, for example ``loss 0.41, top-1 88.2 %``.

    Without bars (pipes, callbacks of the caller), nothing happens.
    """
    if _bars:
        _bars[-1].describe(step, message(text))


class _Terminal:
    """One terminal bar per step; the bars disappear at the end."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._shown = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            # The time left; once a step has ended, the time that it took.
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=Console(stderr=True),
            transient=True,
            expand=True,
        )
        self._tasks: dict[str, Any] = {}

    def report(self, step: str, done: int, total: int) -> None:
        """Set the bar of ``step``."""
        self._shown.update(self._task(step), completed=done, total=total)

    def describe(self, step: str, text: str) -> None:
        """Show ``text`` beside the bar of ``step``."""
        self._shown.update(self._task(step), text=text)

    def print(self, text: str) -> None:
        """Print a line above the bars."""
        self._shown.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _task(self, step: str) -> Any:
        if step not in self._tasks:
            self._tasks[step] = self._shown.add_task(message(step), total=None, text="")
        return self._tasks[step]

    def __enter__(self) -> _Terminal:
        self._shown.start()
        _bars.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _bars.remove(self)
        self._shown.stop()


class _Notebook:
    """Progress in a notebook: one line of output that is updated in place.

    In a notebook, rich's bars would need the package ipywidgets, which is often missing.
    """

    def __init__(self, display: Any) -> None:
        self._display = display
        self._handle: Any = None
        self._start, self._last = time.monotonic(), -_PAUSE
        self._step, self._step_start = "", self._start
        self._texts: dict[str, str] = {}

    def report(self, step: str, done: int, total: int) -> None:
        """Show the bar of ``step``, and the time left."""
        now = time.monotonic()
        if now - self._last < _PAUSE and step == self._step and done < total:
            return
        if step != self._step:
            self._step, self._step_start = step, now
        self._last = now
        filled = round(_WIDTH * done / total) if total else _WIDTH
        bar = "█" * filled + "░" * (_WIDTH - filled)
        line = f"{message(step)}  {bar}  {done}/{total}"
        if step in self._texts:
            line += f"  {self._texts[step]}"
        if 0 < done < total:
            line += f"  {_duration((now - self._step_start) * (total - done) / done)} left"
        self._show(line)

    def describe(self, step: str, text: str) -> None:
        """Show ``text`` beside the bar of ``step`` from the next update on."""
        self._texts[step] = text

    def print(self, text: str) -> None:
        """Print a line on standard error, which notebooks show below the cell."""
        if sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)

    def _show(self, text: str) -> None:
        content = {"text/plain": text}
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)

    def __enter__(self) -> _Notebook:
        _bars.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _bars.remove(self)
        if self._handle is not None and error[0] is None:
            self._show(f"done in {time.monotonic() - self._start:.0f} s")


def _duration(seconds: float) -> str:
    """Seconds as ``m:ss``, or ``h:mm:ss`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _notebook() -> Any:
    """IPython's ``display`` in a notebook kernel, else None; this module never imports IPython."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from importlib import import_module

    return import_module("IPython.display").display
