"""Labels as written -> class indices."""

from __future__ import annotations

import pytest

from edge_effnet.benchmarks.accuracy.class_names import ClassFinder
from edge_effnet.errors import UsageError


def test_a_number_is_a_name_first() -> None:
    find = ClassFinder(("1", "10", "2"))
    assert [find(label, "x") for label in ("1", "10", "2", " 02")] == [0, 1, 2, 2]
    with pytest.raises(UsageError, match=r"'0' of x is none of the class names.*1, 10, 2"):
        find("0", "x")
    years = ClassFinder(("2019", "2020", "unknown"))
    assert years("2020", "x") == 1
    assert not years.knows("1")


def test_a_number_is_an_index_where_no_name_is_one() -> None:
    find = ClassFinder(("daisy", "rose"))
    assert [find(label, "x") for label in ("0", "01", "Rose")] == [0, 1, 1]
    assert ClassFinder(("class 0", "class 1"))("1", "x") == 1


def test_accents_case_and_underscores() -> None:
    find = ClassFinder(("cl\u00e9 anglaise", "marteau"))
    assert find("Cle\u0301_anglaise", "x") == 0
    assert find.is_name("MARTEAU")


def test_case_tells_names_apart_that_differ_in_nothing_else() -> None:
    find = ClassFinder(("Cardigan", "cardigan"))
    assert [find("cardigan", "x"), find("Cardigan", "x")] == [1, 0]
    with pytest.raises(UsageError, match="names the classes 0, 1"):
        find("CARDIGAN", "x")


def test_all_labels_that_match_nothing_are_counted() -> None:
    find = ClassFinder(("daisy", "rose"))
    with pytest.raises(
        UsageError,
        match=r"'elm' of a.jpg is neither .*\(daisy, rose\); nor do 'oak', '7' fit.* 4 photos",
    ):
        find.indices(["elm", "rose", "oak", "elm", "7"], ["a.jpg", "b", "c", "d", "e"])
    assert find.indices(["1", "daisy"], "ab").tolist() == [1, 0]
