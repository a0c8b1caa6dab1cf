"""Folders that are classes, and folders that only look like classes."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from edge_effnet.benchmarks.accuracy.class_folders import folder_labels
from edge_effnet.benchmarks.accuracy.dataset import load
from edge_effnet.errors import UsageError
from edge_effnet.labels import default_labels
from support.colour_models import photos

FLOWERS = ("daisy", "rose", "tulip")


def paths(*folders: str) -> list[Path]:
    return [Path(PurePath(folder, "a.jpg")) for folder in folders]


def test_numeric_names_are_matched_as_names() -> None:
    names = ("1", "10", "2")
    assert folder_labels(Path("x"), paths("1", "2", "10"), names) == (
        {"1": "1", "10": "10", "2": "2"},
        (),
    )


def test_unnamed_classes_take_folders_in_string_order() -> None:
    labels, (note,) = folder_labels(Path("x"), paths("b", "10", "2"), default_labels(3))
    assert labels == {"10": "0", "2": "1", "b": "2"}
    assert "string order" in note
    assert "class 0 is '10'" in note


@pytest.mark.parametrize(
    ("count", "folders"),
    [(3, ("0", "2")), (12, ("00", "11")), (12, ("class 3", "class 11"))],
)
def test_numbers_are_indices_where_no_order_differs(count: int, folders: tuple[str, ...]) -> None:
    labels, notes = folder_labels(Path("x"), paths(*folders), default_labels(count))
    assert labels == {folder: folder for folder in folders}
    assert notes == ()


def test_numbers_of_which_order_decides_are_refused() -> None:
    with pytest.raises(UsageError, match=r"string order .1, 10, 2."):
        folder_labels(Path("x"), paths("1", "2", "10"), default_labels(12))


def test_folders_that_match_nothing_are_named() -> None:
    with pytest.raises(UsageError, match=r"2 folders of x \(elm, oak\) are none of the model's 3"):
        folder_labels(Path("x"), paths("oak", "elm"), FLOWERS)
    with pytest.raises(UsageError, match=r"\(a, b\) are none of the model's 5 classes, which"):
        folder_labels(Path("x"), paths("a", "b"), default_labels(5))


def test_a_level_too_high_or_too_low_is_said(tmp_path: Path) -> None:
    for split in ("test", "train"):
        for name in FLOWERS:
            photos(tmp_path / split / name, 1)
    with pytest.raises(UsageError, match=r"those in them are .*images=.*test.*labels=.none."):
        load(tmp_path, FLOWERS)
    with pytest.raises(UsageError, match=r"has the name of a class.*images=.*test"):
        load(tmp_path / "test" / "rose", FLOWERS)
    assert load(tmp_path / "test", FLOWERS).targets(FLOWERS).tolist() == [0, 1, 2]
    for folder in (tmp_path, tmp_path / "test" / "rose"):
        assert not load(folder, FLOWERS, "none").labelled


def test_levels_far_too_high_are_found(tmp_path: Path) -> None:
    for name in FLOWERS:
        photos(tmp_path / "data" / "flowers" / name, 1)
    with pytest.raises(UsageError, match=r"images=.*data/flowers"):
        load(tmp_path, FLOWERS)
    with pytest.raises(UsageError, match=r"below .*data/flowers \(daisy, rose, tulip\)"):
        load(tmp_path / "data", default_labels(3))
    with pytest.raises(UsageError, match=r"3 folders of .*data/flowers .* are none of"):
        load(tmp_path, ("a", "b"))
    assert not load(tmp_path, ("a", "b"), "none").labelled


def test_a_level_too_low_of_indices(tmp_path: Path) -> None:
    photos(tmp_path / "test" / "0001", 1)
    assert not load(tmp_path / "test" / "0001", FLOWERS).labelled  # nothing beside it
    photos(tmp_path / "test" / "0002", 1)
    with pytest.raises(UsageError, match="has the name of a class"):
        load(tmp_path / "test" / "0001", FLOWERS)


def test_a_plain_folder_of_photos_has_no_labels(tmp_path: Path) -> None:
    photos(tmp_path / "all", 2)
    photos(tmp_path, 1)
    assert not load(tmp_path, FLOWERS).labelled
    assert not load(tmp_path / "all", FLOWERS).labelled


def test_one_loose_photo_does_not_hide_folders_that_match_nothing() -> None:
    stray = Path("montage.jpg")
    with pytest.raises(UsageError, match=r"the 2 folders of x \(elm, oak\) are none of"):
        folder_labels(Path("x"), [*paths("oak", "elm"), stray], FLOWERS)
    assert folder_labels(Path("x"), [*paths("album"), stray], FLOWERS) == ({}, ())


def test_numbers_that_stand_for_named_classes_are_said() -> None:
    labels, (note,) = folder_labels(Path("x"), paths("0", "2"), FLOWERS)
    assert labels == {"0": "0", "2": "2"}
    assert "taken as class indices: 0 is 'daisy'" in note


def test_a_table_of_labels_that_was_not_given_is_named(tmp_path: Path) -> None:
    photos(tmp_path / "images", 1)
    (tmp_path / "other.csv").write_text("name,colour\n")
    (note,) = load(tmp_path / "images", FLOWERS).notes
    assert note == "the photos have no labels: agreement is measured, not accuracy"
    table = tmp_path / "photos.csv"
    table.write_text("file,label\n")
    (note,) = load(tmp_path / "images", FLOWERS).notes
    assert note.endswith(f"{table} has labels: give labels={str(table)!r}")
    with pytest.raises(UsageError, match="needs a labels CSV") as error:
        load(tmp_path / "images", FLOWERS, split="test")
    assert error.value.hint == f"give labels={str(table)!r}"
    (tmp_path / "second.csv").write_text("file,label\n")  # which of the two is meant?
    (note,) = load(tmp_path / "images", FLOWERS).notes
    assert "give labels" not in note
