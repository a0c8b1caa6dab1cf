"""`Run`: the folder of one training, with its settings, state and results.

Every file is written under a temporary name and renamed, so a run that was killed at any moment can
be opened and resumed.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from edge_effnet import csv_cells, json_text, reading
from edge_effnet.apps.training.metrics import EpochMetrics, Metrics, Prediction, Stage, read_rows
from edge_effnet.apps.training.samples import SPLITS, Finding, Sample, TrainingData
from edge_effnet.apps.training.settings import Settings
from edge_effnet.checkpoints.canonical import RUN_FILE, RUN_MODEL
from edge_effnet.decoding import decode
from edge_effnet.errors import ModelFileError, UsageError, reason
from edge_effnet.files import write_text
from edge_effnet.model import Model

SCHEMA = 1
#: Stage of a run: the stages of the training, then ``done``.
RunStage = Literal["data", "head", "fine_tuning", "int8_aware", "metrics", "done"]
_COLUMNS = ["file", "label", "split"]


@dataclass(frozen=True)
class RunState:
    """Progress of a run.

    Attributes:
        stage: The stage in progress, or ``done``.
        epoch: Number of finished epochs of this stage.
        seconds: Duration of each finished or interrupted stage so far.
        improved: Whether the network of each finished stage replaced the previous one.
        notes: One sentence about the result of each finished stage.
    """

    stage: RunStage = "data"
    epoch: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    improved: Mapping[str, bool] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Record:
    """Content of run.json."""

    schema: int
    settings: Settings
    state: RunState
    class_names: tuple[str, ...]
    weights_sha256: str
    versions: Mapping[str, str]


@dataclass(frozen=True, repr=False)
class Run:
    """The folder of a training.

    Attributes:
        folder: The folder.
        settings: What the user chose.
        class_names: Names of the classes in index order; empty before the photos were read.
        state: Progress.
        weights_sha256: Digest of the base checkpoint; empty before it was read.
        versions: Releases of the packages that the training used, by name.
    """

    folder: Path
    settings: Settings
    class_names: tuple[str, ...] = ()
    state: RunState = field(default_factory=RunState)
    weights_sha256: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"Run({self.folder}, {self.settings.variant}, {len(self.class_names)} classes, "
            f"{self.state.stage})"
        )

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Run:
        """The run in ``folder``.

        Raises:
            UsageError: The folder is not a run.
            ModelFileError: Its record is damaged or of a newer schema.
        """
        path = Path(folder) / RUN_FILE
        if not Path(folder).is_dir():
            raise UsageError(f"there is no folder {folder}; check its name")
        if not path.is_file():
            raise UsageError(f"{folder} is not a training run: it has no {RUN_FILE}")
        try:
            content = json_text.parse(reading.read_bytes(path))
        except (OSError, ValueError) as error:
            raise ModelFileError(f"cannot read {path}: {reason(error)}") from error
        schema = content.get("schema") if isinstance(content, dict) else None
        if isinstance(schema, int) and schema > SCHEMA:
            raise ModelFileError(f"{path} was written by a newer release: update edge-effnet")
        advice = "train again in a new folder"
        try:
            record: _Record = decode(_Record, content, str(path), advice, ModelFileError)
        except TypeError as error:  # settings of another combination
            raise ModelFileError(f"{path} cannot be used: {reason(error)}; {advice}") from error
        return cls(
            Path(folder),
            record.settings,
            record.class_names,
            record.state,
            record.weights_sha256,
            record.versions,
        )

    def write(self) -> Run:
        """Write run.json and return the run; raises `OutputError` if it cannot be written."""
        record = _Record(
            SCHEMA,
            self.settings,
            self.state,
            self.class_names,
            self.weights_sha256,
            self.versions,
        )
        write_text(self.folder / RUN_FILE, json.dumps(asdict(record), indent=1) + "\n")
        return self

    def with_state(self, **changes: Any) -> Run:
        """A copy with fields of its state changed, written to run.json."""
        return replace(self, state=replace(self.state, **changes)).write()

    @property
    def data_file(self) -> Path:
        """data.csv: file, label and split of every photo."""
        return self.folder / "data.csv"

    @property
    def findings_file(self) -> Path:
        """findings.json: observations about the photos."""
        return self.folder / "findings.json"

    @property
    def base_file(self) -> Path:
        """Network that the training started from again when classes were added."""
        return self.folder / "base.safetensors"

    @property
    def head_file(self) -> Path:
        """Checkpoint after the head."""
        return self.folder / "head.safetensors"

    @property
    def start_file(self) -> Path:
        """The network that fine-tuning starts from: its classifier is less certain."""
        return self.folder / "start.safetensors"

    @property
    def teacher_file(self) -> Path:
        """The original of an adapted or reshaped network with a head for the run's classes."""
        return self.folder / "teacher.safetensors"

    @property
    def fine_tuned_file(self) -> Path:
        """Checkpoint after fine-tuning, if it was kept."""
        return self.folder / "fine_tuned.safetensors"

    @property
    def model_file(self) -> Path:
        """The chosen checkpoint."""
        return self.folder / RUN_MODEL

    @property
    def quantized_file(self) -> Path:
        """`QuantizedModel` after the int8-aware epochs, if it was kept."""
        return self.folder / "quantized.safetensors"

    @property
    def metrics_file(self) -> Path:
        """metrics.json."""
        return self.folder / "metrics.json"

    @property
    def epochs_file(self) -> Path:
        """metrics.csv: one row per epoch."""
        return self.folder / "metrics.csv"

    @property
    def predictions_file(self) -> Path:
        """predictions.csv: one row per photo and stage."""
        return self.folder / "predictions.csv"

    @property
    def label_check_file(self) -> Path:
        """label_check.csv: one row per training and validation photo, out of fold."""
        return self.folder / "label_check.csv"

    @property
    def results_file(self) -> Path:
        """results.json: accuracy of the exported files."""
        return self.folder / "results.json"

    @property
    def page_file(self) -> Path:
        """report.html."""
        return self.folder / "report.html"

    def state_file(self, stage: Stage) -> Path:
        """Resume file of a stage, written by its training loop."""
        return self.folder / ("state.pt" if stage == "fine_tuning" else f"state-{stage}.pt")

    def model(self) -> Model:
        """The chosen network.

        Raises:
            UsageError: The training has not reached its first checkpoint.
            CheckpointError: The checkpoint is damaged.
        """
        if not self.model_file.is_file():
            raise UsageError(
                f"the training in {self.folder} has no network yet (it stopped in the stage "
                f"{self.state.stage!r})",
                hint="continue it with resume=True",
            )
        from edge_effnet.checkpoints import load

        return load("auto", self.model_file)

    def metrics(self) -> Metrics:
        """Content of metrics.json; raises `ModelFileError` if it is missing or damaged."""
        return Metrics.read(self.metrics_file)

    def epochs(self) -> list[EpochMetrics]:
        """Rows of metrics.csv; empty if it does not exist."""
        return read_rows(self.epochs_file, EpochMetrics)

    def predictions(self) -> list[Prediction]:
        """Rows of predictions.csv; empty if it does not exist."""
        return read_rows(self.predictions_file, Prediction)

    def label_check(self) -> list[Prediction]:
        """Rows of label_check.csv; empty if it does not exist."""
        return read_rows(self.label_check_file, Prediction)

    def write_data(self, data: TrainingData) -> None:
        """Write data.csv and findings.json; raises `OutputError` if they cannot be written."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for sample in data.samples:
            names = (sample.name, data.class_names[sample.label])
            writer.writerow([*map(csv_cells.cell, names), sample.split])
        write_text(self.data_file, text.getvalue())
        findings = [asdict(finding) for finding in data.findings]
        write_text(self.findings_file, json.dumps(findings, indent=1) + "\n")

    def data(self) -> TrainingData:
        """The photos in data.csv, with the findings in findings.json if it exists.

        Raises:
            ModelFileError: A file is damaged, or data.csv is missing or names an unknown class or
                split.
        """
        folder = Path(self.settings.photos)
        indices = {name: index for index, name in enumerate(self.class_names)}
        try:
            rows = csv_cells.read_rows(self.data_file)
            if (header := next(rows, [])) != _COLUMNS:
                raise ValueError(f"its columns are {','.join(header)}")
            samples = tuple(_sample(folder, row, indices) for row in rows)
        except (OSError, ValueError, LookupError, csv.Error) as error:
            raise ModelFileError(
                f"cannot read {self.data_file}: {reason(error)}; train again in a new folder"
            ) from error
        return TrainingData(folder, self.class_names, samples, self._findings())

    def _findings(self) -> tuple[Finding, ...]:
        if not self.findings_file.is_file():
            return ()
        try:
            content = json_text.parse(self.findings_file.read_bytes())
            findings: tuple[Finding, ...] = decode(
                tuple[Finding, ...], content, str(self.findings_file), advice="remove it"
            )
        except (OSError, ValueError, UsageError) as error:
            raise ModelFileError(f"cannot read {self.findings_file}: {reason(error)}") from error
        return findings


def is_run(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is the folder of a training."""
    return (Path(path) / RUN_FILE).is_file()


def _sample(folder: Path, row: Sequence[str], indices: Mapping[str, int]) -> Sample:
    """The sample in one row of data.csv; raises `ValueError` or `LookupError` for a bad row."""
    *names, split = row
    name, label = map(csv_cells.text_of, names)
    if split not in SPLITS:
        raise ValueError(f"{split!r} is no split")
    return Sample(folder / name, name, indices[label], split)
