"""Export of a run: weights, class names, calibration photos and int8 network come from it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_effnet.apps.training.exported_files import measure_exported
from edge_effnet.apps.training.run import Run
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.converters.export import export
from edge_effnet.converters.options import QUANTIZED
from edge_effnet.errors import EdgeEffNetError, ImageError
from edge_effnet.model import Model
from edge_effnet.names import Precision
from edge_effnet.notices import Notify
from edge_effnet.progress import Progress

#: Options of `export` that the int8-aware network was not trained for, with their defaults.
_DEFAULTS = {
    "recipe": "default",
    "quantizer": "edge-effnet",
    "per_tensor": False,
    "max_drop": None,
    "contrib_ops": False,
}


def export_run(
    run: Run,
    model: Model,
    *,
    precisions: Sequence[Precision],
    calibration: str | os.PathLike[str] | None,
    progress: Progress,
    notify: Notify,
    **options: Any,
) -> list[Path]:
    """Write the network of a run to files, and measure them for the run's page.

    Int8 files have the integers of the int8-aware network if there is one and no option contradicts
    it. Everything else is calibrated on the training photos.

    Args:
        run: The run.
        model: Its network as the user's options load it.
        precisions: Precisions of the files.
        calibration: Folder of other photos to calibrate on; None for the training photos.
        progress: Called with (stage, done, total).
        notify: Called with each sentence for the user.
        **options: Further arguments of `converters.export.export`.

    Returns:
        The paths of the files.

    Raises:
        EdgeEffNetError: As `converters.export.export`.
        ImageError: The training photos were moved away.
    """
    options |= {"progress": progress, "notify": notify}
    refined = _refined(run, model, precisions, calibration, options, notify)
    others = [each for each in precisions if each != "int8" or refined is None]
    paths = []
    if others:
        photos = calibration if calibration is not None else _training_photos(run, others)
        paths += export(model, precisions=others, calibration=photos, **options)
    if refined is not None:
        paths += export(refined, precisions=["int8"], **options)
    _measure(run, paths, options.get("threads", 0), progress, notify)
    return paths


def _refined(
    run: Run,
    model: Model,
    precisions: Sequence[Precision],
    calibration: object,
    options: dict[str, Any],
    notify: Notify,
) -> QuantizedModel | None:
    """The int8-aware network, if it is wanted and fits the options."""
    if "int8" not in precisions or not run.quantized_file.is_file():
        return None
    quantized = QuantizedModel.load(run.quantized_file)
    changed = [f"{n}=" for n, usual in _DEFAULTS.items() if options.get(n, usual) != usual]
    if calibration is not None:
        changed.append("calibration=")
    ours, theirs = quantized.info, model.info
    if (ours.preprocess, ours.labels) != (theirs.preprocess, theirs.labels):
        changed.append("the options of the checkpoint")
    if changed:
        notify(f"the int8-aware network of {run.folder} is not used because of {changed[0]}")
        return None
    return quantized


def _training_photos(run: Run, precisions: Sequence[Precision]) -> list[Path] | None:
    """The run's training photos; None if no precision needs photos."""
    if not {*QUANTIZED} & {*precisions}:
        return None
    samples = run.data().of("train")
    paths = [sample.path for sample in samples if sample.path.is_file()]
    if not paths:
        raise ImageError(
            f"the photos of the run are not in {run.settings.photos} any more",
            hint="give calibration=FOLDER",
        )
    return paths


def _measure(
    run: Run, paths: Sequence[Path], threads: int, progress: Progress, notify: Notify
) -> None:
    """Measure the files that have a runtime here, and write the page again."""
    from edge_effnet.apps.training.run_page.page import write_page
    from edge_effnet.formats import is_runnable

    files = [path for path in paths if is_runnable(path)]
    if not files:
        return
    try:
        measure_exported(run, files, threads=threads, progress=progress)
        write_page(run)
    except EdgeEffNetError as error:
        notify(f"the files are written, but the page of the run is not updated: {error}")
