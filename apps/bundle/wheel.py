"""Wheel of the installed package, so that a bundle contains the version that created it."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from importlib.metadata import PackageNotFoundError, distribution

from edge_effnet.errors import UsageError
from edge_effnet.package_files import package_files
from edge_effnet.version import VERSION

_EPOCH = (1980, 1, 1, 0, 0, 0)  # fixed date (zip's earliest), so that wheels are deterministic
_INFO = f"edge_effnet-{VERSION}.dist-info"
NAME = f"edge_effnet-{VERSION}-py3-none-any.whl"


def pack() -> bytes:
    """The wheel's bytes, deterministic; raises `UsageError` if the package is not installed."""
    try:
        installed = distribution("edge-effnet")
        # In a source folder, Python finds the .egg-info of a build before the installed metadata.
        metadata = installed.read_text("METADATA") or installed.read_text("PKG-INFO")
        entries = installed.read_text("entry_points.txt")
    except PackageNotFoundError:
        metadata = entries = None
    if metadata is None or entries is None:
        raise UsageError("edge-effnet is not installed, so it cannot be packed: pip install it")
    files = package_files()
    files[f"{_INFO}/METADATA"] = metadata.encode()
    files[f"{_INFO}/entry_points.txt"] = entries.encode()
    files[f"{_INFO}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: edge-effnet\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = [f"{name},sha256={_hash(data)},{len(data)}" for name, data in files.items()]
    files[f"{_INFO}/RECORD"] = "".join(f"{r}\n" for r in [*record, f"{_INFO}/RECORD,,"]).encode()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, data)
    return archive.getvalue()


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
