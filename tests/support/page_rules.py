"""What a test runs in place of the pages' commands that need hardware, the network or minutes."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from . import ROOT

#: A small input: what is tested is that the pages' commands work, not how well.
SIDE = 32


@dataclass(frozen=True)
class Rule:
    """What a test does with the commands, or Python blocks, that ``pattern`` finds.

    Attributes:
        pattern: Of the commands concerned.
        instead: What replaces the match; None if the command is parsed and not run.
        reason: Why it does not run as it stands.
    """

    pattern: str
    instead: str | None
    reason: str


RULES = (
    Rule(r"^make ", f"make -n -C {shlex.quote(str(ROOT))} ", "minutes, in environments of its own"),
    Rule(r"^python3 -m venv ", None, "test_installation.py makes environments"),
    Rule(r"^pip (install|wheel) ", None, "test_installation.py installs; the extras are checked"),
    Rule(r"^adb ", None, "needs a phone"),
    Rule(r"^edgetpu_compiler ", None, "closed source, on no registry"),
    Rule(r"_edgetpu\.tflite", None, "needs the Edge TPU's compiler and a stick"),
    Rule(r"^curl .*/benchmark_model", None, "needs the network"),
    Rule(r"\bFILE\b", "out/efficientnet-lite0-int8.tflite", "any of the files"),
    Rule(r"^edge-effnet profile\b", None, "minutes; test_latency_model.py fits models"),
    Rule(r"^edge-effnet web ", None, "npm fetches the browser's runtime: 'make clients' runs it"),
    Rule(
        r"^edge-effnet train flowers/(?!.*--(more|resume|budget))",
        rf"rm -rf run; \g<0> --recipe head --resolution {SIDE} --threads 1",
        "fine-tuning takes minutes; a page may train again what the README has trained",
    ),
    Rule(r"^edge-effnet train ", None, "minutes; tests/apps/training trains on few photos"),
    Rule(r"^edge-effnet export run/", r"rm -rf files; \g<0>", "a page may train again"),
    Rule(r"^edge-effnet demo --train", None, "minutes; tests/benchmarks/demo runs it"),
    Rule(
        r"^python -m torch.distributed.run ",
        None,
        "needs GPUs; test_train_all_layers.py runs two processes on a CPU",
    ),
    Rule(r"^edge-effnet bench ", None, "minutes to hours; tests/benchmarks/suite runs them small"),
    Rule(r"--formats coreml ", None, "coremltools is not in the tests' environment"),
    Rule(r"--formats executorch ", None, "executorch is not installed here; tests/clients runs it"),
    Rule(r"classify .*\.rknn ", None, "runs on Rockchip's boards"),
    Rule(r"--formats rknn ", None, "an environment of its own: 'make accelerators'"),
    Rule(r"--formats imx500 ", None, "an environment of its own: 'make accelerators'"),
    Rule(r"\.imx500\.(zip|\*)", None, "test_imx500.py in tests/accelerators makes the file"),
    Rule(r"coreml,executorch,ncnn", "ncnn", "coremltools and executorch are not installed here"),
    Rule(r"^python -m tf2onnx", None, "tf2onnx needs an environment of its own"),
    Rule(r"(resnet|model)\.onnx", None, "tests/converters/foreign exports foreign networks"),
    Rule(
        r"(timm_b0\.pth|torchvision_b0\.pth|lukemelas_b0\.pth|efficientnet-edgetpu-S) ",
        None,
        "weights of other projects; tests/parity reads their layouts",
    ),
    Rule(
        r"\bbest_model\.pth\b",
        None,
        "a fine-tuned checkpoint of timm; test_timm.py has the refusal",
    ),
    Rule(r"\bnet\.pth\b", None, "a head of one's own; test_torch_heads.py converts such networks"),
    Rule(
        r"export v2-b0 .*(--max-drop|,mixed)",
        None,
        "two minutes; test_mixed_precision.py exports such files",
    ),
    Rule(r"export .*--max-drop", None, "two minutes; test_mixed_precision.py exports such files"),
    Rule(r"^edge-effnet (export|analyze) ", rf"\g<0>--resolution {SIDE} ", "minutes at 224 pixels"),
    Rule(r"OPENBLAS_CORETYPE.* edge-effnet export", None, "the instructions of one processor kind"),
    Rule(r"--source 0", "--source photos --preview none --max-frames 2", "there is no webcam here"),
    Rule(r"--preview http", "--preview http --source photos --port 0 --seconds 2", "it never ends"),
    Rule(
        r"lite0 lite1 lite0@192 v2-b0=mine\.keras",
        "lite0@32 lite0@48=efficientnet-lite0.pth --formats tflite --precisions int8 --runs 2",
        "minutes",
    ),
    Rule(r"sweep lite0 lite0@192 lite0@160", None, "measure.md runs a sweep"),
    Rule(r"^edge-effnet (compare|benchmark)", r"\g<0> --runs 2", "the time of 100 runs"),
    Rule(r"(?<=scale --budget-ms )10\b", "50", "another device's latency model"),
    Rule(r"(?<=--base lite0 --budget-ms )3\b", "4", "another device's latency model"),
    Rule(r"(?<=--budget-ms )(5|10)\b", "500", "the machine of the test may be slow"),
    Rule(r"(?<=--max-drop )1\b", "100", "four photos"),
    Rule(
        r"select (?=--latency-model)",
        "select --confirm 0 ",
        "exports of the finalists take minutes",
    ),
)
PYTHON_RULES = (
    Rule(r'device="gpu"', 'device="cpu"', "there is no GPU here"),
    Rule(r'"saved_model"', None, "any Keras model of yours"),
    Rule(r'device="ethos-u"', None, "an environment of its own: 'make accelerators'"),
    Rule(
        r"\bmodule\b", None, "any network of yours; tests/edge_effnet/checkpoints loads live ones"
    ),
    Rule(
        r'(?<="flowers/", variant="lite0")',
        f', recipe="head", resolution={SIDE}, threads=1, notify=print',
        "fine-tuning takes minutes",
    ),
    Rule(r'(?<=weights="efficientnet-lite0.pth")', f", resolution={SIDE}", "seconds at 224 pixels"),
)


def applied(command: str, rules: tuple[Rule, ...] = RULES) -> str | None:
    """What the test runs of a command or Python block; None for one that is only parsed."""
    for rule in rules:
        if re.search(rule.pattern, command):
            if rule.instead is None:
                return None
            command = re.sub(rule.pattern, rule.instead, command)
    return command
