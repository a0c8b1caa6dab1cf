"""Class names from text, from JSON, and ImageNet's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_effnet.errors import UsageError
from edge_effnet.labels import check_labels, default_labels, imagenet_labels, read_labels


def test_imagenet() -> None:
    labels = imagenet_labels()
    assert len(labels) == 1000
    assert all(label == label.strip() and label for label in labels)
    known = {0: "tench", 1: "goldfish", 207: "golden retriever", 281: "tabby", 999: "toilet"}
    for index, start in known.items():
        assert labels[index].lower().startswith(start), labels[index]


@pytest.mark.parametrize(
    "content", ["a\nb b\nc", "a\nb b\nc\n", "a\r\nb b\r\nc\r\n\r\n", "\ufeffa\n b b \nc\n"]
)
def test_text(tmp_path: Path, content: str) -> None:
    path = tmp_path / "l.txt"
    path.write_bytes(content.encode())
    assert read_labels(path) == ("a", "b b", "c")


@pytest.mark.parametrize("content", [["a", "b"], {"0": "a", "1": "b"}, {"1": "b", "0": "a"}])
def test_json(tmp_path: Path, content: object) -> None:
    for name in ("l.json", "L.JSON"):
        (tmp_path / name).write_text(json.dumps(content))
        assert read_labels(tmp_path / name) == ("a", "b")
        assert read_labels(str(tmp_path / name)) == ("a", "b")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("l.txt", "", "empty or have an empty line"),
        ("l.txt", "\n\n", "empty or have an empty line"),
        ("l.txt", "a\n\nb\n", "empty or have an empty line"),
        ("l.json", "[]", "empty or have an empty line"),
        ("l.json", '["a", ""]', "empty or have an empty line"),
        ("l.json", "{", "cannot be used"),
        ("l.json", '"a"', "neither a list of names nor an object"),
        ("l.json", "[1.5, 2]", "neither a list of names nor an object"),
        ("l.json", '{"0": "a", "2": "b"}', "cannot be used .its indices are not 0 to 1"),
        ("l.json", '{"tench": 1}', "cannot be used"),
    ],
)
def test_unusable_files(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=said) as caught:
        read_labels(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_missing_or_binary_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_bytes(b"\xff\xfd\x00names")
    for path in (tmp_path / "none.txt", tmp_path / "b.txt", tmp_path):
        with pytest.raises(UsageError, match=r"cannot read the labels .* give a UTF-8"):
            read_labels(path)


names = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8)


@given(st.lists(names, min_size=1, max_size=8))
def test_text_and_json_give_back_what_was_written(labels: list[str]) -> None:
    import tempfile

    assume(not labels[0].startswith(tuple("0123456789")))  # an index in front

    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("l.txt", "\n".join(labels)), ("l.json", json.dumps(labels))):
            path = Path(folder) / name
            path.write_text(text, "utf-8")
            assert read_labels(path) == tuple(labels)


def test_defaults() -> None:
    assert default_labels(1000) == imagenet_labels()
    assert default_labels(1001) == ("background", *imagenet_labels())
    assert default_labels(3) == ("class 0", "class 1", "class 2")


def test_one_name_a_class() -> None:
    assert check_labels(("a", "b"), 2, "it") == ("a", "b")
    with pytest.raises(
        UsageError, match=r"^it names 2 classes but the checkpoint's classifier has 3;"
    ):
        check_labels(("a", "b"), 3, "it")
