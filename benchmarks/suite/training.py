"""Training comparison: this project beside ultralytics and timm, on the same photos and splits.

Each peer runs in an environment of its own. All networks learn the same training photos, choose
their epoch on the same validation photos, and are measured on the same test photos.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_effnet import subprocesses
from edge_effnet.apps.training.dataset.read import read_training_data
from edge_effnet.apps.training.samples import SPLITS, TrainingData
from edge_effnet.errors import EdgeEffNetError, UsageError
from edge_effnet.files import make_folder, missing

#: Smallest classification network of ultralytics; its ImageNet weights need a download.
ULTRALYTICS_MODEL = "yolo11n-cls"
_ERROR_LINES = 3  # of a peer's output, shown if it fails


@dataclass(frozen=True)
class TrainingRecord:
    """Result of one tool.

    Attributes:
        tool: Name and release of the tool.
        network: The network.
        start: Weights that the training began with.
        commands: The command lines that a user types, installation apart.
        top1: Top-1 accuracy on the test photos, 0..1; None if the tool did not run.
        photos: Number of test photos.
        minutes: Wall-clock time of these commands.
        reason: Why the tool did not run; empty if it did.
    """

    tool: str
    network: str
    start: str
    commands: tuple[str, ...] = ()
    top1: float | None = None
    photos: int = 0
    minutes: float = 0.0
    reason: str = ""

    @property
    def standard_error(self) -> float:
        """Binomial standard error of ``top1``."""
        if self.top1 is None or not self.photos:
            return 0.0
        return math.sqrt(self.top1 * (1 - self.top1) / self.photos)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "standard_error": round(self.standard_error, 6)}


@dataclass(frozen=True)
class TrainingComparison:
    """Settings of one comparison.

    Attributes:
        photos: Folder of photos.
        out: Output folder: splits, runs, and the peers' environments.
        variant: Our variant.
        weights: Our base checkpoint.
        epochs: Epochs of every tool.
        resolution: Input side of every tool in pixels.
        threads: CPU threads of every tool.
        seed: Seed of splits and trainings.
        peer_weights: ultralytics weights (.pt); None trains from scratch.
        timm_script: timm's train.py, which its wheel does not have; None leaves timm out.
        timm_weights: Checkpoint in timm's layout; None trains from scratch.
    """

    photos: Path
    out: Path
    variant: str = "lite0"
    weights: str = "imagenet"
    epochs: int = 15
    resolution: int = 224
    threads: int = 1
    seed: int = 0
    peer_weights: Path | None = None
    timm_script: Path | None = None
    timm_weights: Path | None = None

    def run(self, notify: Callable[[str], None]) -> list[TrainingRecord]:
        """Train with every tool; a tool that fails has the reason in its record.

        Raises:
            UsageError: The photos cannot be trained on, or a given file is missing.
        """
        for path in (self.peer_weights, self.timm_script, self.timm_weights):
            if path is not None and not path.is_file():
                raise UsageError(missing(path))
        folder = make_folder(self.out).absolute()
        data = read_training_data(self.photos.absolute(), seed=self.seed, side=self.resolution)
        if not data.of("test"):
            raise UsageError(f"{self.photos} has no photos left for a test split: add photos")
        splits = write_splits(data, folder / "photos")
        records = []
        for tool in (self._ours, self._ultralytics, self._timm):
            record = tool(splits, len(data.of("test")))
            notify(f"{record.tool}: {record.reason or f'{record.minutes:.1f} minutes'}")
            records.append(record)
        return records

    def _ours(self, splits: Path, photos: int) -> TrainingRecord:
        run, report = self.out.absolute() / "run", self.out.absolute() / "run.json"
        shutil.rmtree(run, ignore_errors=True)
        # The command runs in another folder than the one that a relative path starts from.
        weights = os.path.abspath(self.weights) if os.path.exists(self.weights) else self.weights
        options = ["train", str(splits), "--variant", self.variant, "--weights", weights]
        options += ["--epochs", str(self.epochs), "--resolution", str(self.resolution)]
        options += ["--no-int8-aware", "--seed", str(self.seed), "--out", str(run)]
        start = time.monotonic()
        options += ["--threads", str(self.threads), "--json", str(report)]
        self._call(subprocesses.command("edge_effnet.cli", *options), self.out)
        minutes = (time.monotonic() - start) / 60
        content = json.loads(report.read_text("utf-8"))
        last = [stage["stage"] for stage in content["stages"] if stage["improved"]][-1]
        (top1,) = (
            each["top1"]
            for each in content["splits"]
            if (each["stage"], each["split"]) == (last, "test")
        )
        typed = f"edge-effnet train photos/ --variant {self.variant} --out run/"
        return TrainingRecord(
            "edge-effnet", self.variant, self.weights, (typed,), top1, photos, minutes
        )

    def _ultralytics(self, splits: Path, photos: int) -> TrainingRecord:
        model = str(self.peer_weights or f"{ULTRALYTICS_MODEL}.yaml")
        start_from = "from scratch" if self.peer_weights is None else self.peer_weights.name
        typed = (
            f"yolo classify train model={Path(model).name} data=photos epochs={self.epochs} "
            f"imgsz={self.resolution}",
            "yolo classify val model=runs/classify/train/weights/best.pt data=photos split=test",
        )
        settings = {
            "model": model,
            "data": str(splits),
            "epochs": self.epochs,
            "imgsz": self.resolution,
            "seed": self.seed,
            "project": str(self.out.absolute() / "ultralytics"),
        }
        record = TrainingRecord("ultralytics", ULTRALYTICS_MODEL, start_from, typed)
        try:
            python = self._environment("ultralytics", ["ultralytics"])
            start = time.monotonic()
            output = self._call([python, "-c", _ULTRALYTICS, json.dumps(settings)], self.out)
        except EdgeEffNetError as error:
            return TrainingRecord(**{**asdict(record), "reason": f"not run: {error}"})
        minutes = (time.monotonic() - start) / 60
        result = json.loads(output.splitlines()[-1])
        named = f"ultralytics {result['release']}"
        return TrainingRecord(
            named, ULTRALYTICS_MODEL, start_from, typed, result["top1"], photos, minutes
        )

    def _timm(self, splits: Path, photos: int) -> TrainingRecord:
        start_from = "from scratch" if self.timm_weights is None else self.timm_weights.name
        network = f"efficientnet_{self.variant}"
        typed = (
            f"python train.py --data-dir photos --train-split train --val-split val --model "
            f"{network} --num-classes N --epochs {self.epochs}",
            "python validate.py --data-dir photos --split test --model ... --checkpoint ...",
        )
        record = TrainingRecord("timm train.py", network, start_from, typed)
        if self.timm_script is None:
            reason = "not run: timm's wheel has no train.py; --timm-script names its file"
            return TrainingRecord(**{**asdict(record), "reason": reason})
        classes = sorted(path.name for path in (splits / "train").iterdir())
        output = self.out.absolute() / "timm"
        options = ["--data-dir", splits, "--train-split", "train", "--val-split", "val"]
        options += ["--model", network, "--num-classes", len(classes), "--epochs", self.epochs]
        options += ["--img-size", self.resolution, "--seed", self.seed, "--workers", 1]
        options += ["--device", "cpu", "--output", output, "--experiment", "bench"]
        if self.timm_weights is not None:
            options += ["--initial-checkpoint", self.timm_weights]
        try:
            python = self._environment("timm", ["timm"])
            start = time.monotonic()
            self._call([python, str(self.timm_script), *map(str, options)], self.out)
            minutes = (time.monotonic() - start) / 60
            top1 = self._test_accuracy(output / "bench" / "model_best.pth.tar", splits, classes)
        except EdgeEffNetError as error:
            return TrainingRecord(**{**asdict(record), "reason": f"not run: {error}"})
        return TrainingRecord("timm train.py", network, start_from, typed, top1, photos, minutes)

    def _test_accuracy(self, checkpoint: Path, splits: Path, classes: Sequence[str]) -> float:
        """Top-1 of timm's checkpoint on the test photos, as our fp32 .onnx file."""
        from edge_effnet.benchmarks.accuracy.evaluate import evaluate
        from edge_effnet.checkpoints import load
        from edge_effnet.converters.export import export

        model = load(self.variant, checkpoint, labels=classes, resolution=self.resolution)
        files = export(model, formats="onnx", precisions="fp32", out=self.out / "timm-files")
        (record,) = evaluate(files, str(splits / "test")).records
        return float(record.top1 or 0.0)

    def _environment(self, name: str, packages: Sequence[str]) -> str:
        """Python of the environment of a peer, made with pip if it does not exist."""
        folder = self.out.absolute() / f"{name}-environment"
        python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        if not python.exists():
            try:
                venv.create(folder, with_pip=True)
                self._call([str(python), "-m", "pip", "install", "--quiet", *packages], self.out)
            except (OSError, subprocess.SubprocessError, EdgeEffNetError) as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise UsageError(f"its environment cannot be made: {error}") from error
        return str(python)

    def _call(self, command: Sequence[str], folder: Path) -> str:
        """Run a command and return its output; raises `UsageError` with its last lines."""
        threads = str(self.threads)
        environment = {
            **os.environ,
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads),
            "YOLO_CONFIG_DIR": str(folder.absolute()),
            "YOLO_OFFLINE": "true",
        }
        done = subprocess.run(  # noqa: S603  (commands of this module)
            list(command), capture_output=True, text=True, cwd=folder, env=environment, check=False
        )
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()[-_ERROR_LINES:]
            raise UsageError(f"{Path(command[0]).name} failed: {' | '.join(lines)}")
        return done.stdout


#: Program in ultralytics' environment; its last line is JSON.
_ULTRALYTICS = """
import json, sys
import ultralytics
settings = json.loads(sys.argv[1])
model = ultralytics.YOLO(settings.pop("model"))
model.train(device="cpu", workers=0, name="train", exist_ok=True, verbose=False, **settings)
result = model.val(data=settings["data"], split="test", workers=0, verbose=False)
print(json.dumps({"top1": float(result.top1), "release": ultralytics.__version__}))
"""


def write_splits(data: TrainingData, folder: Path) -> Path:
    """Links to the photos as ``folder/<split>/<class>/<number>``, as all tools read them."""
    shutil.rmtree(folder, ignore_errors=True)
    for split in SPLITS:
        for number, sample in enumerate(data.of(split)):
            name = data.class_names[sample.label].replace("/", "_")
            target = make_folder(folder / split / name) / f"{number:06}{sample.path.suffix.lower()}"
            os.symlink(sample.path.absolute(), target)
    return folder


def sheet(records: Sequence[TrainingRecord]) -> str:
    """The records as text, with the typed commands."""
    lines = [f"{'tool':<22} {'network':<18} {'start':<14} {'top-1 %':>12} {'minutes':>8} commands"]
    for each in records:
        top1 = "-"
        if each.top1 is not None:
            top1 = f"{100 * each.top1:.1f} ± {100 * each.standard_error:.1f}"
        lines.append(
            f"{each.tool:<22} {each.network:<18} {each.start:<14} {top1:>12} "
            f"{each.minutes:>8.1f} {len(each.commands):>8}"
        )
    for each in records:
        lines += ["", f"{each.tool}: {each.reason}" if each.reason else f"{each.tool}:"]
        lines += [f"  {command}" for command in each.commands]
    return "\n".join([*lines, ""])
