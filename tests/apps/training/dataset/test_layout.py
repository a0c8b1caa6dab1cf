"""Classes and splits from folders and CSVs, and folders that are refused."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from edge_effnet.apps.training.dataset.layout import class_order, read_layout
from edge_effnet.errors import ImageError, UsageError
from support.photo_folders import make_classes, photo


def test_a_folder_per_class(tmp_path: Path) -> None:
    make_classes(tmp_path, {"b": 2, "a": 1, "Zebra, grey": 1})
    layout = read_layout(tmp_path)
    assert layout.class_names == ("Zebra, grey", "a", "b")
    assert [(p.name, p.class_name, p.split) for p in layout.photos] == [
        ("Zebra, grey/0.png", "Zebra, grey", None),
        ("a/0.png", "a", None),
        ("b/0.png", "b", None),
        ("b/1.png", "b", None),
    ]


def test_numbers_are_in_numeric_order_and_names_in_string_order() -> None:
    assert class_order(["10", "2", "1", "2"]) == ("1", "2", "10")
    assert class_order(["10", "2", "a"]) == ("10", "2", "a")


def test_class_names_are_composed_characters(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Gänseblümchen")
    make_classes(tmp_path, {decomposed: 1, "日本": 1})
    assert read_layout(tmp_path).class_names == ("Gänseblümchen", "日本")


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "Testing")])
def test_split_folders(tmp_path: Path, names: tuple[str, ...]) -> None:
    for seed, name in enumerate(names):
        make_classes(tmp_path / name, {"a": 1, "b": 1}, seed * 10)
    photos = read_layout(tmp_path).photos
    assert {p.split for p in photos} == {"train", "val", "test"}
    assert {p.class_name for p in photos} == {"a", "b"}


def test_train_beside_another_class_is_a_class(tmp_path: Path) -> None:
    make_classes(tmp_path, {"train": 1, "bus": 1})
    assert read_layout(tmp_path).class_names == ("bus", "train")


def test_photos_outside_the_class_folders_are_named(tmp_path: Path) -> None:
    make_classes(tmp_path, {"a": 1, "b": 1})
    photo(9).save(tmp_path / "loose.png")
    assert read_layout(tmp_path).outside == ("loose.png",)


def test_a_csv_gives_labels_and_splits(tmp_path: Path) -> None:
    make_classes(tmp_path, {"x": 4})
    table = tmp_path / "labels.csv"
    table.write_text(
        "file,label,split\nx/0.png,cat,train\nx/1.png,dog,train\nx/2.png,cat,validation\n"
        "x/3.png,dog,test\n"
    )
    layout = read_layout(tmp_path, table)
    assert layout.class_names == ("cat", "dog")
    assert [p.split for p in layout.photos] == ["train", "train", "val", "test"]


def test_a_csv_with_a_column_per_class(tmp_path: Path) -> None:
    make_classes(tmp_path, {"x": 2})
    table = tmp_path / "labels.csv"
    table.write_text("file,cat,dog\nx/0.png,1,0\nx/1.png,0,1\n")
    assert [p.class_name for p in read_layout(tmp_path, table).photos] == ["cat", "dog"]


def test_a_csv_elsewhere_names_files_beside_itself(tmp_path: Path) -> None:
    make_classes(tmp_path / "csv", {"x": 2})
    (tmp_path / "photos").mkdir()
    table = tmp_path / "csv" / "labels.csv"
    table.write_text("file,label\nx/0.png,1\nx/1.png,2\n")
    layout = read_layout(tmp_path / "photos", table)
    assert all((layout.folder / p.name).is_file() for p in layout.photos)


def test_class_names_of_a_file_replace_indices_and_set_the_order(tmp_path: Path) -> None:
    make_classes(tmp_path / "photos", {"0": 1, "1": 1})
    names = tmp_path / "names.txt"
    names.write_text("tulip\nrose\n")
    layout = read_layout(tmp_path / "photos", None, names)
    assert layout.class_names == ("tulip", "rose")
    assert [p.class_name for p in layout.photos] == ["tulip", "rose"]


def test_refused_folders(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        read_layout(tmp_path / "missing")
    one = make_classes(tmp_path / "one", {"a": 2})
    with pytest.raises(UsageError, match=r"one class \('a'\)"):
        read_layout(one)
    nested = make_classes(tmp_path / "nested" / "flowers", {"a": 1, "b": 1}).parent
    with pytest.raises(UsageError, match=r"give .*flowers if its folders are the classes"):
        read_layout(nested)
    empty = make_classes(tmp_path / "empty", {"a": 1, "b": 1})
    (empty / "tulips").mkdir()
    with pytest.raises(UsageError, match=r"1 class folder holds no photo \(tulips\)"):
        read_layout(empty)
    flat = make_classes(tmp_path / "flat", {"": 3})
    with pytest.raises(UsageError, match="no class folders"):
        read_layout(flat)
    control = make_classes(tmp_path / "control", {"a\nb": 1, "c": 1})
    with pytest.raises(UsageError, match=r"control character U\+000A"):
        read_layout(control)
    latin = make_classes(tmp_path / "latin", {"a": 1, "caf\udce9": 1})
    with pytest.raises(UsageError, match="is not UTF-8: rename the folder"):
        read_layout(latin)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label,split\nx/0.png,a,train\nx/1.png,b,evaluation\n", "'evaluation'"),
        ("file,label,split\nx/0.png,a,train\nx/1.png,b,\n", "splits ''"),
        ("file,label\nx/0.png,a\nx/1.png,a\n", "one class"),
        ("name,label\nx/0.png,a\n", "no column 'file'"),
    ],
)
def test_refused_csvs(tmp_path: Path, text: str, message: str) -> None:
    make_classes(tmp_path, {"x": 2})
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_layout(tmp_path, table)
    table.write_text("file,label\nx/0.png,a\nx/9.png,b\n")
    with pytest.raises(ImageError, match=r"1 of the 2 files"):
        read_layout(tmp_path, table)
