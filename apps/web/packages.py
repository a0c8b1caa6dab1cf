"""Runtimes for the browser: files of npm packages, pinned by version and sha512.

The npm client fetches the packages with the user's registry, proxy and cache. No code of a package
is executed here.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from edge_effnet.errors import DownloadError

_SECONDS = 900
#: Options of npm. Timeouts suit a slow network; without a network npm fails earlier.
_OPTIONS = (
    *("--json", "--ignore-scripts", "--prefer-offline", "--loglevel=error"),
    *("--fetch-retries=1", "--fetch-retry-mintimeout=2000", "--fetch-retry-maxtimeout=5000"),
)
#: npm's error codes for a missing network connection.
_OFFLINE = (
    *("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH"),
    "ENOTCACHED",
)
_ADVICE = (
    (
        _OFFLINE,
        "the package registry cannot be reached: connect to the network once (npm keeps the "
        "package for later) or set npm's registry and proxy",
    ),
    (("E404", "ETARGET"), "the registry that npm is set to lacks it: npm config get registry"),
    (("E401", "E403"), "the registry that npm is set to refuses: npm config get registry"),
    (("ENOSPC",), "the disk is full: free some space"),
    (("EINTEGRITY",), "npm's copy is damaged: npm cache clean --force"),
)


@dataclass(frozen=True)
class Package:
    """One npm package.

    ``integrity`` is npm's sha512 in base64. ``files`` maps paths in the package to file names of
    the site.
    """

    name: str
    version: str
    integrity: str
    licence: str
    source: str
    files: Mapping[str, str]

    @property
    def pin(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"


_LITERT_SOURCE = "https://github.com/google-ai-edge/LiteRT"
_WASM = ("litert_wasm", "litert_wasm_compat", "litert_wasm_threaded", "litert_wasm_jspi")
#: LiteRT.js; its JSPI build is for WebGPU and WebNN.
LITERT = (
    Package(
        "@litertjs/core",
        "2.5.3",
        "sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        "Apache-2.0",
        _LITERT_SOURCE,
        {
            "dist/index.js": "index.js",
            **{
                f"wasm/{name}_internal.{suffix}": f"{name}_internal.{suffix}"
                for name in _WASM
                for suffix in ("js", "wasm")
            },
        },
    ),
    Package(
        "@litertjs/wasm-utils",
        "2.5.3",
        "sha512-4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        "Apache-2.0",
        _LITERT_SOURCE,
        {"dist/index.js": "wasm-utils.js"},
    ),
)
#: ONNX Runtime Web: its WebAssembly build, and its JSPI build for WebGPU and WebNN.
ONNXRUNTIME = (
    Package(
        "onnxruntime-web",
        "1.30.0",
        "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
        "MIT",
        "https://github.com/microsoft/onnxruntime",
        {
            "dist/ort.wasm.min.mjs": "ort.wasm.min.mjs",
            "dist/ort-wasm-simd-threaded.mjs": "ort-wasm-simd-threaded.mjs",
            "dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
            "dist/ort.jspi.min.mjs": "ort.jspi.min.mjs",
            "dist/ort-wasm-simd-threaded.jspi.mjs": "ort-wasm-simd-threaded.jspi.mjs",
            "dist/ort-wasm-simd-threaded.jspi.wasm": "ort-wasm-simd-threaded.jspi.wasm",
        },
    ),
)


def fetch(package: Package) -> dict[str, bytes]:
    """The package's files by file name in the site; raises `DownloadError`."""
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError(
            f"npm is not installed, and {package.pin} is fetched with it: install Node.js "
            "(https://nodejs.org, or apt install npm), or make the site on a machine that has it"
        )
    with TemporaryDirectory() as folder:
        command = [npm, "pack", package.pin, *_OPTIONS, "--pack-destination", folder]
        try:
            done = subprocess.run(  # noqa: S603
                command, cwd=folder, capture_output=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise DownloadError(
                f"npm did not fetch {package.pin} within {_SECONDS} s; try again"
            ) from None
        except OSError as error:
            raise DownloadError(f"npm cannot be run ({error}); install Node.js anew") from error
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            raise DownloadError(f"npm cannot fetch {package.pin}: {_why(done)}")
        return unpack(package, archives[0].read_bytes())


def fetch_all(
    packages: tuple[Package, ...], progress: Callable[[str, int, int], None]
) -> dict[str, bytes]:
    """Files of several packages, adapted so that browsers load them without a bundler."""
    files: dict[str, bytes] = {}
    for number, package in enumerate(packages):
        progress("fetching with npm", number, len(packages))
        files |= fetch(package)
    progress("fetching with npm", len(packages), len(packages))
    if "wasm-utils.js" in files:  # browsers import files, not packages
        files["index.js"] = _point_to(files["index.js"], "@litertjs/wasm-utils", "./wasm-utils.js")
    return files


def unpack(package: Package, archive: bytes) -> dict[str, bytes]:
    """The package's ``files`` from an npm tarball; raises `DownloadError` for a wrong digest."""
    digest = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if digest != package.integrity:
        raise DownloadError(
            f"{package.pin} as fetched by npm differs from the pinned package (sha512): it is "
            "damaged, or the registry serves another one"
        )
    content: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tarball:
        for member in tarball:
            name = package.files.get(member.name.removeprefix("package/"))
            stream = tarball.extractfile(member) if name and member.isfile() else None
            if name and stream:
                content[name] = stream.read()
    missing = set(package.files.values()) - set(content)
    if missing:
        raise DownloadError(f"{package.pin} lacks {', '.join(sorted(missing))}")
    return content


def _point_to(source: bytes, name: str, path: str) -> bytes:
    """Source of a module with its single import of the package ``name`` replaced by ``path``."""
    before, after = f'"{name}"'.encode(), f'"{path}"'.encode()
    if source.count(before) != 1:
        raise DownloadError(f"the package does not import {name} as expected: its layout changed")
    return source.replace(before, after)


def _why(done: subprocess.CompletedProcess[bytes]) -> str:
    """Error message of a failed npm call, with advice."""
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    try:
        error = json.loads(done.stdout)["error"]
        code, summary = str(error["code"]), str(error["summary"])
    except (ValueError, LookupError, TypeError):
        code, summary = text, text
    for codes, advice in _ADVICE:
        if any(word in code for word in codes):
            return advice
    return " ".join(summary.split())[:300] or f"it ended with {done.returncode}"
