"""Photos to samples: broken ones are named, crops and flips are repeatable, all is recorded."""

from __future__ import annotations

import hashlib
import os
import shutil
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_effnet.calibration.samples.photos import (
    ENOUGH,
    MOST_PHOTOS,
    read_samples,
    spread_order,
)
from edge_effnet.card import MANIFEST_LIMIT
from edge_effnet.errors import ImageError
from edge_effnet.preprocess import Preprocess

PREPROCESS = Preprocess(16, 0.875)


def photo(path: Path, seed: int, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos, one of them deeper."""
    photo(tmp_path / "photos" / "b.png", 1)
    photo(tmp_path / "photos" / "a.png", 2, (30, 50))
    photo(tmp_path / "photos" / "deep" / "c.png", 3)
    return tmp_path / "photos"


def test_names_of_any_encoding(tmp_path: Path) -> None:
    photo(tmp_path / "caf\udce9.png", 1)
    samples = read_samples(tmp_path, PREPROCESS, augment_to=3)
    assert len(samples.pixels) == 3
    assert samples.record.manifest[0][0] == "caf\udce9.png"


def test_copies_and_blank_photos_are_noticed(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", 1)
    assert not any("copies" in warning for warning in read_samples(tmp_path, PREPROCESS).warnings)
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    Image.new("RGB", (20, 20)).save(tmp_path / "black.png")
    warnings = " ".join(read_samples(tmp_path, PREPROCESS).warnings)
    assert "only 2 of the 3 calibration photos are different" in warnings
    assert "1 of 3 calibration samples show nothing" in warnings


def test_a_folder_is_read_in_order(folder: Path) -> None:
    samples = read_samples(folder, PREPROCESS)
    names = ["a.png", "b.png", "deep/c.png"]
    expected = np.stack([PREPROCESS.pixels(folder / name) for name in names])
    assert np.array_equal(samples.pixels, expected)
    assert samples.pixels.dtype == np.uint8
    digests = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]
    assert samples.record.manifest == tuple(zip(names, digests, strict=True))
    assert (samples.record.photos, samples.record.samples) == (3, 3)
    assert samples.record.digest == hashlib.sha256(expected.tobytes()).hexdigest()
    assert samples.skipped == ()


def test_paths_are_taken_as_given(folder: Path) -> None:
    paths = [folder / "deep" / "c.png", folder / "a.png"]
    samples = read_samples(iter(paths), PREPROCESS)
    assert [name for name, _ in samples.record.manifest] == ["c.png", "a.png"]
    assert np.array_equal(samples.pixels[1], PREPROCESS.pixels(paths[1]))


def test_a_text_path_is_a_folder(folder: Path) -> None:
    assert read_samples(str(folder), PREPROCESS).record == read_samples(folder, PREPROCESS).record


# Broken photos


def test_broken_photos_are_named_and_skipped(folder: Path) -> None:
    whole = read_samples(folder, PREPROCESS)
    (folder / "aa.jpg").write_bytes(b"no picture")
    (folder / "deep" / "cut.png").write_bytes((folder / "a.png").read_bytes()[:200])
    samples = read_samples(folder, PREPROCESS)
    assert (samples.record.given, whole.record.given) == (5, 3)
    assert replace(samples.record, given=3) == whole.record
    assert [name for name, _ in samples.skipped] == ["aa.jpg", "deep/cut.png"]
    assert "not an image" in samples.skipped[0][1]
    assert "broken" in samples.skipped[1][1]
    named = [text for text in samples.warnings if text.startswith("left out")]
    assert len(named) == 2
    assert named[0].startswith("left out aa.jpg: ")


def test_a_path_that_is_gone_is_skipped(folder: Path) -> None:
    samples = read_samples([folder / "gone.png", folder / "a.png"], PREPROCESS)
    assert [name for name, _ in samples.skipped] == ["gone.png"]
    assert len(samples.pixels) == 1


def test_all_broken_is_an_error_that_says_why(tmp_path: Path) -> None:
    for index in range(5):
        (tmp_path / f"{index}.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageError) as caught:
        read_samples(tmp_path, PREPROCESS)
    text = str(caught.value)
    assert "none of the 5 calibration photos can be used" in text
    assert "0.jpg is not an image" in text
    assert "4.jpg" not in text  # three reasons are enough


def test_no_photos_at_all(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no images"):
        read_samples(tmp_path, PREPROCESS)
    with pytest.raises(ImageError, match="does not exist"):
        read_samples(tmp_path / "none", PREPROCESS)
    with pytest.raises(ImageError, match="none of the 0 calibration photos"):
        read_samples([], PREPROCESS)


def test_few_samples_are_warned_of(folder: Path) -> None:
    (text,) = read_samples(folder, PREPROCESS).warnings
    assert text.startswith(f"only 3 calibration samples: at least {ENOUGH} photos")
    assert read_samples(folder, PREPROCESS, augment_to=ENOUGH).warnings == ()
    assert len(read_samples(folder, PREPROCESS, augment_to=ENOUGH - 1).warnings) == 1


# Crops and flips


@pytest.mark.parametrize("count", [3, 4, 7, 12, 100])
def test_augmenting_gives_as_many_as_asked_for(folder: Path, count: int) -> None:
    samples = read_samples(folder, PREPROCESS, augment_to=count)
    assert samples.pixels.shape == (count, 16, 16, 3)
    assert (samples.record.photos, samples.record.samples) == (3, count)
    again = read_samples(folder, PREPROCESS, augment_to=count)
    assert np.array_equal(samples.pixels, again.pixels)
    assert samples.record == again.record


def test_views_differ_and_the_centre_crops_come_first(folder: Path) -> None:
    samples = read_samples(folder, PREPROCESS, augment_to=12)
    assert len({view.tobytes() for view in samples.pixels}) == 12
    assert np.array_equal(samples.pixels[:3], read_samples(folder, PREPROCESS).pixels)


def test_every_photo_gives_its_share(tmp_path: Path) -> None:
    """Flat photos, so that a sample tells which one it is of."""
    for index in range(5):
        Image.new("RGB", (20, 20), (index * 40,) * 3).save(tmp_path / f"{index}.png")
    samples = read_samples(tmp_path, PREPROCESS, augment_to=7)
    assert (samples.pixels[:, 0, 0, 0] // 40).tolist() == [0, 1, 2, 3, 4, 0, 1]


def test_views_depend_on_the_name_only_not_on_the_place(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere")
    there = read_samples(tmp_path / "elsewhere", PREPROCESS, augment_to=9)
    assert there.record == read_samples(folder, PREPROCESS, augment_to=9).record


def test_asking_for_fewer_than_there_are_drops_none(folder: Path) -> None:
    assert len(read_samples(folder, PREPROCESS, augment_to=1).pixels) == 3


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (16, 16)])
def test_tiny_photos_can_be_augmented(tmp_path: Path, size: tuple[int, int]) -> None:
    photo(tmp_path / "t.png", 0, size)
    assert len(read_samples(tmp_path, PREPROCESS, augment_to=6).pixels) == 6


def test_broken_photos_are_made_up_for(folder: Path) -> None:
    """Twelve samples were asked for: the sound photos give them."""
    (folder / "broken.jpg").write_bytes(b"no picture")
    assert len(read_samples(folder, PREPROCESS, augment_to=12).pixels) == 12


# The record


def test_the_digest_tells_one_pixel(folder: Path) -> None:
    before = read_samples(folder, PREPROCESS).record
    pixels = np.asarray(Image.open(folder / "b.png")).copy()
    pixels[15, 20, 1] ^= 0xFF
    Image.fromarray(pixels).save(folder / "b.png")
    after = read_samples(folder, PREPROCESS).record
    assert after.digest != before.digest
    changed = [a for a, b in zip(after.manifest, before.manifest, strict=True) if a != b]
    assert [name for name, _ in changed] == ["b.png"]


def test_long_manifests_are_left_out(tmp_path: Path) -> None:
    path = photo(tmp_path / "p.png", 0, (4, 4))
    tiny = Preprocess(2, 1.0, "nearest")
    at_the_limit = read_samples([path] * MANIFEST_LIMIT, tiny, most=MANIFEST_LIMIT).record
    assert len(at_the_limit.manifest) == MANIFEST_LIMIT
    more = MANIFEST_LIMIT + 1
    beyond = read_samples([path] * more, tiny, most=more).record
    assert (beyond.manifest, beyond.photos) == ((), more)
    assert beyond.digest


def test_progress_counts_every_photo(folder: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"no picture")
    calls: list[tuple[int, int]] = []
    read_samples(folder, PREPROCESS, progress=lambda *call: calls.append(call))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


# More photos than calibration reads


def class_folders(root: Path, count: int, classes: int = 10) -> Path:
    """``count`` photos of 4 by 4 pixels over ``classes`` folders, the last one smaller."""
    for index in range(count):
        photo(root / f"class{index * classes // count}" / f"{index:05}.png", index, (4, 4))
    return root


def folders_of(samples_manifest: tuple[tuple[str, str], ...]) -> Counter[str]:
    return Counter(name.partition("/")[0] for name, _ in samples_manifest)


@pytest.mark.parametrize("count", [1, 127, 128, 129, 300, 2000])
def test_as_many_are_read_as_serve_and_memory_is_theirs(tmp_path: Path, count: int) -> None:
    wide = Preprocess(64, 1.0)
    class_folders(tmp_path, count)
    read_samples(tmp_path, wide)  # what is imported and cached on the way
    tracemalloc.start()
    try:
        samples = read_samples(tmp_path, wide)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    used = min(count, MOST_PHOTOS)
    assert samples.pixels.shape == (used, 64, 64, 3)
    assert (samples.record.photos, samples.record.samples) == (used, used)
    assert samples.record.given == count
    said = [text for text in samples.warnings if text.startswith("calibrated on")]
    assert len(said) == (count > MOST_PHOTOS)
    assert all(f"calibrated on {used} of {count:,} photos" in text for text in said)
    once = samples.pixels.nbytes
    assert once < peak < 2.2 * once + 3e6  # all 2,000 would be 25 MB


def test_up_to_128_photos_are_in_sorted_order(tmp_path: Path) -> None:
    class_folders(tmp_path, MOST_PHOTOS)
    names = [name for name, _ in read_samples(tmp_path, PREPROCESS).record.manifest]
    assert names == sorted(names)
    (tmp_path / "class3" / "broken.png").write_bytes(b"no picture")  # the 129th
    again = read_samples(tmp_path, PREPROCESS)
    assert [name for name, _ in again.record.manifest] == names
    assert [name for name, _ in again.skipped] == ["class3/broken.png"]


@pytest.mark.parametrize("count", [129, 300, 1000])
def test_every_class_folder_has_its_share_of_any_part(tmp_path: Path, count: int) -> None:
    class_folders(tmp_path, count)
    chosen = read_samples(tmp_path, PREPROCESS).record.manifest
    assert len(chosen) == MOST_PHOTOS
    every = read_samples(tmp_path, PREPROCESS, most=count).record.manifest
    assert sorted(every[:MOST_PHOTOS]) == sorted(chosen)
    for part in (every[:20], chosen):
        shares = folders_of(part)
        assert len(shares) == 10
        assert max(shares.values()) - min(shares.values()) <= 1


def test_a_small_folder_is_used_whole() -> None:
    folders = [Path("many")] * 5000 + [Path("few")] * 3
    chosen = spread_order(folders)[:MOST_PHOTOS]
    assert {5000, 5001, 5002} <= set(chosen)
    assert sorted(spread_order(folders)) == list(range(5003))


def test_more_folders_than_photos_are_spread_over() -> None:
    chosen = sorted(spread_order([Path(str(index // 3)) for index in range(3000)])[:200])
    assert len({index // 3 for index in chosen}) == 200
    assert max(np.diff(chosen)) <= 3 * 3000 / 200


@pytest.mark.parametrize("most", [10, 100, 128])
def test_one_folder_is_spread_over_evenly(most: int) -> None:
    """Neighbours are alike: bursts, frames of a video."""
    chosen = sorted(spread_order([Path("one")] * 5000)[:most])
    assert chosen[0] < 2 * 5000 / most
    assert chosen[-1] > 5000 - 3 * 5000 / most
    assert max(np.diff(chosen)) <= 3 * 5000 / most


def test_the_choice_does_not_depend_on_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_folders(tmp_path, 400)
    (tmp_path / "class0" / "00000.png").write_bytes(b"no picture")
    found = []
    for cores in (1, 2, 16):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        samples = read_samples(tmp_path, PREPROCESS)
        found.append((samples.record, samples.skipped, samples.pixels.tobytes()))
    assert found[0] == found[1] == found[2]


def test_others_take_the_place_of_broken_photos(tmp_path: Path) -> None:
    class_folders(tmp_path, 300)
    whole = read_samples(tmp_path, PREPROCESS).record.manifest
    broken = [name for name, _ in whole[::10]]
    for name in broken:
        (tmp_path / name).write_bytes(b"no picture")
    calls: list[tuple[int, int]] = []
    samples = read_samples(tmp_path, PREPROCESS, progress=lambda *call: calls.append(call))
    assert [name for name, _ in samples.skipped] == sorted(broken)
    assert len(samples.pixels) == MOST_PHOTOS
    assert {item for item in whole if item[0] not in broken} < set(samples.record.manifest)
    assert not set(broken) & {name for name, _ in samples.record.manifest}
    assert calls[-1] == (MOST_PHOTOS + len(broken), MOST_PHOTOS + len(broken))
    shares = folders_of(samples.record.manifest)
    assert len(shares) == 10


def test_with_too_many_broken_photos_the_rest_is_used(tmp_path: Path) -> None:
    class_folders(tmp_path, 300)
    for index, path in enumerate(sorted(tmp_path.rglob("*.png"))):
        if index % 5:
            path.write_bytes(b"no picture")
    samples = read_samples(tmp_path, PREPROCESS)
    names = [name for name, _ in samples.record.manifest]
    assert len(names) == 60
    assert names == sorted(names)
    assert len(samples.skipped) == 240
    assert not [text for text in samples.warnings if text.startswith("calibrated on")]
