"""Continuing a run: after an interruption, with more epochs, or with more classes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_effnet.apps.training.dataset.layout import read_layout
from edge_effnet.apps.training.evaluation import forget_stages
from edge_effnet.apps.training.run import Run, RunState
from edge_effnet.apps.training.tuning import check_can_fine_tune
from edge_effnet.benchmarks.accuracy.class_names import listed
from edge_effnet.errors import UsageError
from edge_effnet.files import write_bytes
from edge_effnet.notices import Notify
from edge_effnet.registry import get_variant

#: Settings that may change when a run is continued; all others belong to its result.
_FREE = ("device",)


def resumed(
    run: Run,
    photos: str | os.PathLike[str] | None,
    chosen: Mapping[str, Any],
    say: Notify,
) -> Run:
    """The interrupted ``run``, ready to go on.

    Args:
        run: The run.
        photos: The folder of photos if the user gave it; it may have moved.
        chosen: Settings that the user gave; they must equal the run's.
        say: Called with sentences for the user.

    Raises:
        UsageError: A setting or the classes differ, or there is nothing to continue.
    """
    run = _with_settings(run, photos, chosen)
    if run.class_names:
        difference = _difference(run)
        if difference:
            raise UsageError(
                f"the classes of {run.settings.photos} differ from those of the run {run.folder}: "
                f"{difference}",
                hint="give more=EPOCHS to train for added classes"
                if run.state.stage == "done" and not difference.missing
                else "restore the photos, or give out=FOLDER for a new run",
            )
    if run.state.stage == "done":
        if not run.model_file.is_file():  # removed by hand: its stages are run again
            run = replace(run, state=replace(run.state, stage="head"))
        elif run.page_file.is_file():
            extension = "" if run.settings.recipe == "head" else "; more=10 adds 10 epochs"
            say(f"the training in {run.folder} is finished{extension}")
        else:
            run = replace(run, state=replace(run.state, stage="metrics"))
    return run


def extended(
    run: Run,
    photos: str | os.PathLike[str] | None,
    chosen: Mapping[str, Any],
    more: int,
    say: Notify,
) -> Run:
    """The finished ``run``, ready for ``more`` fine-tuning epochs.

    If classes were added to the photos, the run starts again from its own network, without a
    teacher; the rows of its classifier are kept by class name. Its files stay as they are until the
    photos are accepted (`started_again`).

    Args:
        run: The run.
        photos: The folder of photos if the user gave it; it may have moved.
        chosen: Settings that the user gave; they must equal the run's.
        more: Number of epochs.
        say: Called with sentences for the user.

    Raises:
        UsageError: The run is not finished, its recipe has no epochs, or classes are missing.
        MissingExtra: torch or timm is not installed.
    """
    if more < 1:
        raise UsageError(f"more= adds at least 1 epoch, not {more}")
    if run.state.stage != "done":
        raise UsageError(
            f"the training in {run.folder} is not finished (stage {run.state.stage})",
            hint="give resume=True to continue it",
        )
    run = _with_settings(run, photos, chosen)
    difference = _difference(run)
    if difference.missing:
        raise UsageError(
            f"the photos lack classes of the run {run.folder}: {difference}",
            hint="restore the photos, or give out=FOLDER for a new run",
        )
    if run.settings.recipe == "head" and not difference.added:
        raise UsageError(
            f"the run {run.folder} trains the head only, which has no epochs",
            hint="give recipe='default' and out=FOLDER for a new run",
        )
    if run.settings.recipe != "head":
        check_can_fine_tune(alternative="")
    if not difference.added:
        _remove(run.quantized_file, run.state_file("int8_aware"))
        forget_stages(run, ("int8_aware",))
        settings = replace(run.settings, more=run.settings.more + more)
        improved = {k: v for k, v in run.state.improved.items() if k != "int8_aware"}
        state = replace(run.state, stage="fine_tuning", improved=improved)
        return replace(run, settings=settings, state=state).write()
    say(f"{listed(difference.added)} added to {len(run.class_names)} classes")
    if run.settings.teacher is not None:
        say("the teacher does not know the added classes and is not used any more")
    settings = replace(
        run.settings,
        weights=str(run.model_file),
        epochs=more,
        more=0,
        keep_rows=True,
        teacher=None,
    )
    return replace(run, settings=settings, class_names=(), state=RunState())


def begins_again(run: Run) -> bool:
    """Whether `extended` has added classes to ``run`` and its folder has not changed yet."""
    return run.settings.weights == str(run.model_file)


def started_again(run: Run) -> Run:
    """``run``; for an extension by classes, after removing the results of the old classes."""
    if not begins_again(run):
        return run
    write_bytes(run.base_file, run.model_file.read_bytes())
    forget_stages(run, ("head", "fine_tuning", "int8_aware"))
    _remove(
        run.quantized_file,
        run.state_file("int8_aware"),
        run.state_file("fine_tuning"),
        run.metrics_file,
        run.fine_tuned_file,
        run.teacher_file,
    )
    return replace(run, settings=replace(run.settings, weights=str(run.base_file)))


@dataclass(frozen=True)
class _Difference:
    """Classes of the photos that are not in the run, and of the run that have no photos."""

    added: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{listed(self.added)} added"] if self.added else []
        parts += [f"{listed(self.missing)} missing"] if self.missing else []
        return ", ".join(parts)

    def __bool__(self) -> bool:
        return bool(self.added or self.missing)


def _difference(run: Run) -> _Difference:
    """The classes of the photos compared with those of the run."""
    settings = run.settings
    labels, class_names = (
        None if path is None else Path(path) for path in (settings.labels, settings.class_names)
    )
    names = read_layout(Path(settings.photos), labels, class_names).class_names
    return _Difference(
        tuple(name for name in names if name not in run.class_names),
        tuple(name for name in run.class_names if name not in names),
    )


def _with_settings(
    run: Run, photos: str | os.PathLike[str] | None, chosen: Mapping[str, Any]
) -> Run:
    """``run`` with the user's folder of photos and device; raises for other changed settings."""
    settings = run.settings
    for name, value in chosen.items():
        if name == "variant":
            value = settings.variant if value == "auto" else get_variant(value).name
        if name == "weights" and os.path.exists(value):
            value = os.path.abspath(value)
        current = getattr(settings, name)
        if (
            name not in _FREE
            and value != current
            and not (name == "weights" and settings.keep_rows)
        ):
            raise UsageError(
                f"the run {run.folder} was started with {name}={current!r}, not {value!r}",
                hint=f"omit {name}=, or give out=FOLDER for a new run",
            )
    changes = {name: chosen[name] for name in _FREE if name in chosen}
    if photos is not None:
        changes["photos"] = os.path.abspath(photos)
    return replace(run, settings=replace(settings, **changes))


def _remove(*paths: Path) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            path.unlink()
