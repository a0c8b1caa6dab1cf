"""The runtimes for browsers: what npm brings is pinned, and its errors are told in one line."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from edge_effnet.apps.web import packages
from edge_effnet.errors import DownloadError

CORE = b'import { createWasmLib } from "@litertjs/wasm-utils";\n'


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, for an npm of the test's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def pretend(folder: Path, script: str) -> None:
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)


def test_without_npm(npm: Path) -> None:
    with pytest.raises(DownloadError, match=r"npm is not installed.*install Node.js"):
        packages.fetch(packages.LITERT[1])


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ENOTFOUND", "cannot be reached: connect to the network once"),
        ("ECONNREFUSED", "cannot be reached"),
        ("ENOTCACHED", "cannot be reached"),
        ("ETARGET", "lacks it: npm config get registry"),
        ("E403", "refuses"),
        ("ENOSPC", "the disk is full"),
        ("EODD", "something odd"),
    ],
)
def test_what_npm_says_is_told_in_one_line(npm: Path, code: str, said: str) -> None:
    answer = json.dumps({"error": {"code": code, "summary": "something\nodd", "detail": ""}})
    pretend(npm, f"echo '{answer}'; echo 'npm error code' >&2; exit 1".replace("\\n", "\\\\n"))
    with pytest.raises(DownloadError, match="@litertjs/wasm-utils@2") as info:
        packages.fetch(packages.LITERT[1])
    assert said in str(info.value)
    assert "\n" not in str(info.value)


def test_an_npm_that_is_broken(npm: Path) -> None:
    pretend(npm, "echo nonsense; exit 1")
    with pytest.raises(DownloadError, match="nonsense"):
        packages.fetch(packages.LITERT[1])
    pretend(npm, "exit 0")
    with pytest.raises(DownloadError, match="cannot fetch"):
        packages.fetch(packages.LITERT[1])


def tarball(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def package_of(archive: bytes, *names: str) -> packages.Package:
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    return packages.Package("p", "1.0", integrity, "MIT", "", {name: name for name in names})


def test_only_the_pinned_archive_is_unpacked() -> None:
    archive = tarball(a=b"1", b=b"2")
    assert packages.unpack(package_of(archive, "a"), archive) == {"a": b"1"}
    with pytest.raises(DownloadError, match="differs from the pinned package"):
        packages.unpack(package_of(archive, "a"), tarball(a=b"1", b=b"3"))
    with pytest.raises(DownloadError, match="lacks c"):
        packages.unpack(package_of(archive, "a", "c"), archive)


def test_the_pins_are_whole() -> None:
    for package in (*packages.LITERT, *packages.ONNXRUNTIME):
        kind, _, digest = package.integrity.partition("-")
        assert kind == "sha512"
        assert len(base64.b64decode(digest)) == 64
        assert re.fullmatch(r"\d+\.\d+\.\d+", package.version)


def test_a_package_of_another_layout_is_told() -> None:
    with pytest.raises(DownloadError, match="its layout changed"):
        packages._point_to(b"import 'else'", "@litertjs/wasm-utils", "./wasm-utils.js")
    assert b'"./wasm-utils.js"' in packages._point_to(
        CORE, "@litertjs/wasm-utils", "./wasm-utils.js"
    )
