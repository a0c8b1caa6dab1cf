"""Folders of photos: links, HEIC, what systems leave beside photos."""

from __future__ import annotations

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from edge_effnet import photo_files
from edge_effnet.errors import ImageError
from edge_effnet.photo_files import SUFFIXES, list_images, open_image
from edge_effnet.preprocess import load_image


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def listed(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in list_images(root)]


def test_folders_are_listed_in_order_with_everything_below(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a.png", "sub/c.webp", "sub/.hidden.png", "notes.txt", ".x.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert listed(tmp_path) == ["a.png", "b.JPG", "sub/c.webp"]


def test_copies_that_systems_make_are_no_photos(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.jpg", "cat/._a.jpg", "cat/.DS_Store", "Thumbs.db")
    touch(tmp_path, "__MACOSX/cat/a.jpg", ".ipynb_checkpoints/a.jpg", "cat/@eaDir/a.jpg")
    assert listed(tmp_path) == ["cat/a.jpg"]


def test_every_suffix_can_be_decoded() -> None:
    Image.init()
    assert set(Image.registered_extensions()) >= SUFFIXES


def test_unusable_folders(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        list_images(tmp_path / "none")
    touch(tmp_path, "notes.txt", "a/b.pdf", "a/c.pdf")
    with pytest.raises(
        ImageError, match=r"no images \(.avif .* other files: 2 .pdf, 1 .txt; give a folder of"
    ):
        list_images(tmp_path)
    with pytest.raises(ImageError, match="is not a folder"):
        list_images(tmp_path / "notes.txt")


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "data/cat/a.jpg", "data/cat/deep/b.jpg", "photos/dog/c.jpg")
    photos = tmp_path / "photos"
    (photos / "cat").symlink_to(tmp_path / "data" / "cat")
    (photos / "zebra").symlink_to(tmp_path / "data" / "cat")
    (photos / "a dog").symlink_to(photos / "dog")  # the real folder has its photos
    (photos / "d.jpg").symlink_to(tmp_path / "data" / "cat" / "a.jpg")
    assert listed(photos) == ["cat/a.jpg", "cat/deep/b.jpg", "d.jpg", "dog/c.jpg"]


@pytest.mark.parametrize("target", [".", "..", "../..", "cat"])
def test_a_link_that_leads_back_is_refused(tmp_path: Path, target: str) -> None:
    photos = tmp_path / "above" / "photos"
    touch(photos, "cat/a.jpg")
    link = photos / ("cat/again" if target == "cat" else "again")
    link.symlink_to(photos / target, target_is_directory=True)
    with pytest.raises(ImageError, match=r"again leads back to .*remove the link"):
        list_images(photos)


def test_links_between_folders_that_are_read_anyway_are_no_loop(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "a").symlink_to(tmp_path / "a")
    assert listed(tmp_path) == ["a/1.jpg", "b/2.jpg"]


def test_links_to_nothing_are_named(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "no.jpg")
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    assert listed(tmp_path) == ["gone.jpg", "self.jpg"]
    for path in list_images(tmp_path):
        with pytest.raises(ImageError, match=path.name):
            load_image(path)
    (tmp_path / "cat").symlink_to(tmp_path / "disk" / "cat")
    with pytest.raises(ImageError, match=r"the link .*cat leads to .*not there"):
        list_images(tmp_path)


def test_heic_is_counted_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "IMG_1.HEIC", "IMG_2.heif")
    assert listed(tmp_path) == ["IMG_1.HEIC", "IMG_2.heif"]
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"IMG_1.HEIC is a HEIC photo.*pip install"):
        load_image(tmp_path / "IMG_1.HEIC")


def test_heic_is_read_through_pillow_heif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (4, 2), (255, 0, 0)).save(tmp_path / "a.png")
    heic = (tmp_path / "a.png").rename(tmp_path / "a.heic")
    asked = []
    package = SimpleNamespace(register_heif_opener=lambda: asked.append(1))
    monkeypatch.setattr(photo_files, "require", lambda module, extra: package)
    assert load_image(heic).size == (4, 2)  # Pillow looks at the content
    assert asked == [1]


def test_a_raw_file_is_not_read_as_its_preview(tmp_path: Path) -> None:
    Image.new("RGB", (4, 2)).save(tmp_path / "a.tiff")
    (tmp_path / "a.tiff").rename(tmp_path / "a.DNG")
    assert listed(tmp_path) == ["a.DNG"]
    with pytest.raises(ImageError, match=r"a.DNG is a .dng file.*save it as JPEG"):
        load_image(tmp_path / "a.DNG")


def test_threads_that_read_photos_leave_the_filters_of_warnings(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(load_image, [tmp_path / "a.png"] * 400))
    assert list(warnings.filters) == before


def test_a_program_in_postscript_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow chooses the decoder by the content, and runs Ghostscript for a .jpg that is EPS."""
    from PIL import EpsImagePlugin, UnidentifiedImageError

    def run(*arguments: object, **options: object) -> None:
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(AssertionError):
        Image.open(path).load()
    with pytest.raises(UnidentifiedImageError):
        open_image(path)
