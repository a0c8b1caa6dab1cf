"""The wheel: only the package lands in site-packages, with its data and what it asks for."""

from __future__ import annotations

import configparser
import email
import email.message
import json
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from support import ROOT

FOLDERS = ("apps", "benchmarks", "calibration", "converters")
#: What the base install may pull in: a Raspberry Pi gets these and one runtime.
BASE = {"numpy", "pillow", "safetensors", "click", "rich"}
HEAVY = {"torch", "tensorflow", "tensorflow-cpu", "nncf", "opencv-python", "matplotlib"}
#: An extra in a message's pip line, or given to `errors.require`.
NAMED = re.compile(
    r"""(?:require\("[\w.]+", "|EXTRA = "|pip_line\(['"]|_instead\([^,]+, ')([a-z][\w-]*)"""
)


def too_old(package: str, least: int) -> bool:
    try:
        return int(version(package).split(".")[0]) < least
    except PackageNotFoundError:
        return True


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built without a network from a copy of the tree, as a fresh clone would be."""
    if too_old("setuptools", 70):
        pytest.skip("building without a network needs setuptools >= 70 installed")
    folder = tmp_path_factory.mktemp("wheel")
    left_out = ("__pycache__", "*.pyc", ".*", "build", "dist", "*.egg-info", "tests", "report")
    shutil.copytree(ROOT, folder / "tree", ignore=shutil.ignore_patterns(*left_out))
    arguments = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder / "out")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", *arguments, folder / "tree"], check=True
    )
    (path,) = (folder / "out").glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def needed(metadata: email.message.Message, extra: str | None) -> set[str]:
    """Names of the packages that the base install, or one extra, asks for."""
    found = set()
    for line in metadata.get_all("Requires-Dist") or []:
        requirement, _, marker = line.partition(";")
        of = marker.partition("extra == ")[2].strip(" \"')") or None
        if of == extra:
            name = requirement.split("[")[0]
            for sign in "<>=!~ (":
                name = name.split(sign)[0]
            found.add(name.strip().lower())
    return found


def test_one_package_at_the_top(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}
    (info,) = top - {"edge_effnet"}
    assert info.startswith("edge_effnet-")
    assert info.endswith(".dist-info")


def test_every_module_is_inside(wheel: zipfile.ZipFile) -> None:
    sources = {f"edge_effnet/{p.relative_to(ROOT)}" for f in FOLDERS for p in modules(ROOT / f)}
    sources |= {str(path.relative_to(ROOT)) for path in modules(ROOT / "edge_effnet")}
    assert len(sources) > 50
    assert {name for name in wheel.namelist() if name.endswith(".py")} == sources


def modules(folder: Path) -> list[Path]:
    return list(folder.rglob("*.py"))


def test_data_files_are_inside(wheel: zipfile.ZipFile) -> None:
    for name, source in {
        "edge_effnet/data/imagenet_labels.txt": "edge_effnet/data/imagenet_labels.txt",
        "edge_effnet/benchmarks/reporting/report.html": "benchmarks/reporting/report.html",
        "edge_effnet/benchmarks/reporting/report.css": "benchmarks/reporting/report.css",
        "edge_effnet/py.typed": "edge_effnet/py.typed",
    }.items():
        assert wheel.read(name) == (ROOT / source).read_bytes()
    licences = [name for name in wheel.namelist() if name.endswith(("/LICENSE", "/NOTICE"))]
    assert len(licences) == 2
    assert b"Apache License" in wheel.read(min(licences))


def test_the_command_is_installed(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    entries = configparser.ConfigParser()
    entries.read_string(wheel.read(name).decode())
    assert dict(entries["console_scripts"]) == {"edge-effnet": "edge_effnet.cli:main"}


def test_the_base_asks_for_little(metadata: email.message.Message) -> None:
    assert metadata["Name"] == "edge-effnet"
    assert metadata["Requires-Python"] == ">=3.10"
    assert needed(metadata, None) == BASE


def test_extras_of_the_design(metadata: email.message.Message) -> None:
    extras = set(metadata.get_all("Provides-Extra") or [])
    assert {"litert", "onnx", "openvino", "export", "torch", "tensorflow", "dev", "all"} <= extras
    assert needed(metadata, "litert") == {"ai-edge-litert", "tflite-runtime"}
    assert needed(metadata, "onnx") == {"onnx", "onnxruntime"}
    assert needed(metadata, "openvino") == {"openvino"}
    for extra in ("litert", "onnx", "openvino", "export", "report", "demo"):
        assert not needed(metadata, extra) & HEAVY - {"matplotlib"}


def test_every_extra_that_a_message_names_exists(metadata: email.message.Message) -> None:
    extras = set(metadata.get_all("Provides-Extra") or [])
    named = set()
    for folder in ("edge_effnet", *FOLDERS):
        for path in modules(ROOT / folder):
            named |= set(NAMED.findall(path.read_text("utf-8")))
    assert {"export", "litert", "onnx", "openvino", "report", "demo", "nncf"} <= named
    assert named <= extras


def test_the_installed_wheel_runs(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Unpacked, without the source tree: the command answers and the labels are found."""
    wheel.extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in str(f).lower()]\n"
        "import edge_effnet, edge_effnet.converters.export, edge_effnet.benchmarks.records\n"
        "from edge_effnet.labels import imagenet_labels\n"
        "assert edge_effnet.converters.export.__file__.startswith(sys.argv[1])\n"
        "assert len(imagenet_labels()) == 1000\n"
        "from edge_effnet.cli import main; main(['list', '--json', '-'])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert '"efficientnet-lite0"' in result.stdout


def test_links_of_the_description_are_absolute(metadata: email.message.Message) -> None:
    """A package index shows the README without the repository around it."""
    text = str(metadata.get_payload())
    links = re.findall(r"\]\(([^)]+)\)|(?:src|href)=\"([^\"]+)\"", text)
    targets = [one or other for one, other in links]
    assert any(
        re.search(r"raw\.githubusercontent\.com/.*\.(png|jpg|svg|webp)$", t) for t in targets
    )
    assert not [target for target in targets if not target.startswith(("https://", "#"))]
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL") or [])
    assert {"Documentation", "Changelog", "Issues"} <= urls.keys()
    for target in targets:  # what they name is in the repository
        path = re.fullmatch(
            r"https://(?:raw\.)?github\S*?/edge-effnet/(?:blob/)?main/([^#]+).*", target
        )
        assert path is None or (ROOT / path[1]).exists(), target


def test_the_bill_of_materials(wheel: zipfile.ZipFile, metadata: email.message.Message) -> None:
    (name,) = (name for name in wheel.namelist() if "/sboms/" in name)
    content = json.loads(wheel.read(name))
    assert (content["bomFormat"], content["specVersion"]) == ("CycloneDX", "1.6")
    assert content["metadata"]["component"]["version"] == metadata["Version"]
    names = {component["name"] for component in content["components"]}
    required = {each["name"] for each in content["components"] if each["scope"] == "required"}
    assert required == BASE
    assert {"onnx", "openvino", "ai-edge-litert"} <= names
    assert "timestamp" not in content["metadata"]


@pytest.mark.parametrize("extra", ["dev", "demo", "docs"])
def test_every_locked_package_has_a_hash(extra: str) -> None:
    text = (ROOT / "requirements" / f"{extra}.lock").read_text()
    assert "//" not in text, "no host is named"
    entries = text.replace("\\\n", " ").strip().splitlines()
    assert len(entries) > 20
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==.*--hash=sha256:[0-9a-f]{64}", entry), entry
