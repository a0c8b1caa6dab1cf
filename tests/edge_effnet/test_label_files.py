"""Files of class names as trainers and toolkits write them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from edge_effnet.errors import UsageError
from edge_effnet.label_files import name_key, read_label_file, repeated_names
from edge_effnet.labels import interpret, read_labels

FLOWERS = ("daisy", "dandelion", "rose", "tulip")


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("l.txt", "3 tulip\n0 daisy\n2 rose\n1 dandelion\n", FLOWERS),
        ("l.txt", "0  daisy\n1  dandelion\n2  rose\n3  tulip", FLOWERS),
        ("l.txt", "2:rose\r\n3: tulip\r\n0:daisy\r\n1 : dandelion\r\n", FLOWERS),
        ("l.txt", "2\tb\n1\ta\n4\td\n3\tc", ("a", "b", "c", "d")),
        ("l.txt", "0 Class 1\n1 Class 2", ("Class 1", "Class 2")),
        # A number that is the name, or a part of it
        ("l.txt", "1\n10\n2\n", ("1", "10", "2")),
        ("l.txt", "2019\n2020\n", ("2019", "2020")),
        ("l.txt", "0 dots\n1 dot\n2 dots\n", ("0 dots", "1 dot", "2 dots")),
        ("l.txt", "10 cents\n20 cents\n50 cents\n", ("10 cents", "20 cents", "50 cents")),
        ("l.txt", "1 cent\n2 euro\n", ("1 cent", "2 euro")),
        ("l.txt", "0 to 5 years\n6 to 10 years\n", ("0 to 5 years", "6 to 10 years")),
        ("l.txt", "a,b\nkey, rusty\n", ("a,b", "key, rusty")),
        ("l.json", ["1", "10", "2"], ("1", "10", "2")),
        ("l.json", [2019, 2020], ("2019", "2020")),
        ("l.json", {"tulip": 3, "daisy": 0, "rose": 2, "dandelion": 1}, FLOWERS),
        ("l.json", {"tulip": "3", "daisy": "0", "rose": "2", "dandelion": "1"}, FLOWERS),
        ("l.json", {"1": 0, "10": 1, "2": 2}, ("1", "10", "2")),
        ("l.json", {"0": "1", "1": "10", "2": "2"}, ("1", "10", "2")),
        ("l.json", {"0": 1, "1": 0}, ("1", "0")),
        ("l.json", {"0": ["n1", "daisy"], "1": ["n2", "rose"]}, ("daisy", "rose")),
        ("l.json", {"id2label": {"1": "b", "0": "a"}, "x": 3}, ("a", "b")),
        ("l.json", {"label_names": ["a", "b"], "architecture": "x"}, ("a", "b")),
        ("l.csv", "index,name\n1,dandelion\n0,daisy\n3,tulip\n2,rose\n", FLOWERS),
        ("l.csv", "class\n1\n10\n2\n", ("1", "10", "2")),
        ("l.csv", 'name,label\n"b, c",1\na,0\n', ("a", "b, c")),
        ("l.csv", "a,0\nb,1\n", ("a", "b")),
        ("l.tsv", "id\tname\n0\ta\n1\tb\n", ("a", "b")),
    ],
)  # fmt: skip
def test_names_in_index_order(
    tmp_path: Path, name: str, content: object, names: tuple[str, ...]
) -> None:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    assert read_label_file(path).names == names
    assert read_labels(path) == names


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("l.txt", "0: a\n1: b\n3: d\n", "not as 0 to 2, each once"),
        ("l.txt", "0: a\n1: b\n1: c\n", "not as 0 to 2, each once"),
        ("l.txt", "2 euro\n1 cent\n", "part of the name or the class"),
        ("l.txt", "a\x0cb\nc\n", r"class 0 holds the control character U\+000C"),
        ("l.txt", "c\na\u2028b\n", r"class 1 holds the control character U\+2028"),
        ("l.json", '["a\\nb"]', r"control character U\+000A"),
        ("l.json", '{"a": 0, "a": 1}', "'a' stands there twice"),
        ("l.json", '{"a": 0, "b": 2}', "neither a list|cannot be used"),
        ("l.json", "[true]", "neither a list of names"),
        ("l.csv", "file,label\na.jpg,cat\n", "lists photos"),
        ("l.csv", "index,name\n0,a\n2,b\n", "are ambiguous"),
        ("l.csv", "a,b\n1\n", "different numbers of columns"),
    ],
)
def test_what_could_be_read_wrongly_is_refused(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(UsageError, match=said) as caught:
        read_label_file(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_lines_of_notepad_and_powershell(tmp_path: Path) -> None:
    path = tmp_path / "l.txt"
    for encoding in ("utf-16", "utf-8-sig"):
        path.write_bytes("Wrench\r\nSchlüssel\r\n".encode(encoding))
        assert read_label_file(path).names == ("Wrench", "Schlüssel")
    path.write_bytes("clé\n".encode("latin-1"))
    with pytest.raises(UsageError, match="give a UTF-8"):
        read_label_file(path)


def test_the_folders_that_a_network_was_trained_on(tmp_path: Path) -> None:
    for name in ("10", "2", "1", ".cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").write_text("x")
    found = interpret("x.pth", 3, None, tmp_path)
    assert found.labels == ("1", "10", "2")
    assert "in string order: class 0 is '1'" in found.notes[0]


def test_what_is_assumed_is_said(tmp_path: Path) -> None:
    path = tmp_path / "l.txt"
    path.write_text("1 b\n0 a\n")
    (note,) = interpret("x.pth", 2, None, path).notes
    assert "index and name: class 0 is 'a'" in note
    assert interpret("x.pth", 2, None, ("a", "b")).notes == ()


def test_a_name_of_two_classes_is_said() -> None:
    names = ("cle\u0301", "b", "cl\u00e9", "b", "B")
    assert repeated_names(names) == {"cle\u0301": [0, 2], "b": [1, 3]}
    assert repeated_names(("Cardigan", "cardigan")) == {}  # ImageNet's dog and its jacket
    for given, own in ((names, None), (None, names)):
        found = interpret("x.pth", 5, None, given, own)
        assert found.labels == names
        assert "classes 0 and 2 have one name, 'cle\u0301', as 1 more" in found.notes[0]


def test_accents_are_compared_composed() -> None:
    assert name_key("cle\u0301 _Rouille\u0301e") == name_key("CL\u00c9 rouill\u00e9e ")
    assert name_key("a") != name_key("b")


def test_a_large_file_that_repeats_its_last_index(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    entries = ",".join(f'"{number}":0' for number in range(400_000))
    path.write_text(f'{{{entries},"399999":1}}')
    started = time.process_time()
    with pytest.raises(UsageError, match="'399999' stands there twice"):
        read_label_file(path)
    assert time.process_time() - started < 10
