"""Writing: complete or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from edge_effnet import files
from edge_effnet.errors import OutputError
from edge_effnet.files import make_folder, missing, replacing, write_bytes, write_text


def test_content_is_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "a.bin"
    assert write_bytes(path, b"\0\1") == path
    assert path.read_bytes() == b"\0\1"
    assert write_text(tmp_path / "t.txt", "Käse\n").read_bytes() == "Käse\n".encode()


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a", b"a long old content")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [b"old", None])
def test_an_exception_leaves_all_as_it_was(
    tmp_path: Path, kind: type[BaseException], before: bytes | None
) -> None:
    path = tmp_path / "a"
    if before is not None:
        path.write_bytes(before)

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            assert (path.read_bytes() if path.exists() else None) == before
            raise kind

    with pytest.raises(kind):
        interrupted()
    assert [entry.name for entry in tmp_path.iterdir()] == ([] if before is None else ["a"])
    assert before is None or path.read_bytes() == before


def test_the_temporary_is_beside_the_target_and_hidden(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.onnx") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".part"


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a", b"old")

    def full() -> None:
        with replacing(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutputError, match=r"cannot write .*a: No space left on device; free some"):
        full()
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        path = write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        write_bytes(tmp_path / "a", b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"cannot create the folder .*choose another with out="):
        make_folder(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="cannot create the folder"):
        write_bytes(tmp_path / "file" / "a", b"")


def test_a_folder_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"")
    assert make_folder(tmp_path) == tmp_path
    assert (tmp_path / "kept").exists()


def test_a_folder_without_write_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, so for it the refusal is the system call's."""
    if os.geteuid() == 0:

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(files.Path, "touch", refuse)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match=r"cannot write .*a: Permission denied; .* with out="):
            write_bytes(tmp_path / "a", b"x")
    finally:
        tmp_path.chmod(0o700)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="a folder that nobody can write")
def test_proc_cannot_be_written() -> None:
    with pytest.raises(OutputError, match="cannot"):
        write_bytes("/proc/edge-effnet/a", b"x")
    with pytest.raises(OutputError, match=r"cannot write in the folder /proc/self: .*out="):
        make_folder("/proc/self")


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("net.safetensor", "; did you mean {0}/net.safetensors?"),
        ("other.pth", "; check the path"),
        ("runs/net.pth", ": the folder {0}/runs does not exist"),
    ],
)
def test_a_missing_file_is_named_with_the_nearest(tmp_path: Path, path: str, end: str) -> None:
    (tmp_path / "net.safetensors").touch()
    assert missing(tmp_path / path) == f"there is no file {tmp_path / path}{end.format(tmp_path)}"


def test_an_address_is_no_file() -> None:
    for text in ("https://host/net.pth", str(Path("https://host/net.pth"))):
        assert "is an address, not a file; download it first" in missing(text)
