"""The digest inside a file tells any change of it or of its companion."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet import digest
from edge_effnet.errors import ModelFileError

MARK = digest.PLACEHOLDER.encode()
PREFIX = MARK[:-64]
blobs = st.binary(max_size=60)


@given(blobs, blobs, blobs)
def test_what_was_stamped_verifies(before: bytes, after: bytes, companion: bytes) -> None:
    data = before + MARK + after
    stamped = digest.stamp(data, companion)
    assert len(stamped) == len(data)
    assert digest.verify(stamped, companion) == digest.of(data, companion)
    value = hashlib.sha256(data + companion).hexdigest()
    assert stamped == before + PREFIX + value.encode() + after


@given(blobs, blobs, blobs, st.data())
def test_any_flipped_bit_is_told(
    before: bytes, after: bytes, companion: bytes, draw: st.DataObject
) -> None:
    stamped = digest.stamp(before + MARK + after, companion)
    whole = bytearray(stamped + companion)
    place = draw.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << draw.draw(st.integers(0, 7))
    data, beside = bytes(whole[: len(stamped)]), bytes(whole[len(stamped) :])
    try:
        assert digest.verify(data, beside) is None  # no digest is left
        assert len(before) <= place < len(before) + len(MARK)
    except ModelFileError:
        pass


@given(blobs, blobs, st.integers(1, 200))
def test_truncation_is_told_or_leaves_no_digest(before: bytes, after: bytes, cut: int) -> None:
    stamped = digest.stamp(before + MARK + after)
    shorter = stamped[: max(len(stamped) - cut, 0)]
    try:
        assert digest.verify(shorter) is None
        assert len(shorter) < len(before) + len(MARK)
    except ModelFileError:
        pass


def test_more_bytes_or_another_companion_are_told() -> None:
    stamped = digest.stamp(b"model " + MARK, b"weights")
    for data, companion in (
        (stamped + b"\0", b"weights"),
        (b"\0" + stamped, b"weights"),
        (stamped, b""),
        (stamped, b"weights\0"),
        (stamped, b"other weights"),
    ):
        with pytest.raises(
            ModelFileError, match=r"net\.onnx was altered or damaged .* copy it again"
        ):
            digest.verify(data, companion, "net.onnx")


def test_a_second_digest_hides_nothing() -> None:
    stamped = digest.stamp(b"a" + MARK)
    second = PREFIX + b"f" * 64
    right = PREFIX + hashlib.sha256(MARK + second).hexdigest().encode() + second
    for forged in (stamped + stamped, stamped + second, right):
        with pytest.raises(ModelFileError):
            digest.verify(forged)


def test_the_placeholder_itself_is_no_digest_of_anything() -> None:
    with pytest.raises(ModelFileError):
        digest.verify(b"a" + MARK)


@given(blobs)
def test_files_without_a_digest_are_only_unknown(data: bytes) -> None:
    assert digest.verify(data) is None


@pytest.mark.parametrize("data", [b"", b"no mark", MARK + MARK, MARK + PREFIX + b"1" * 64])
def test_stamping_needs_one_placeholder(data: bytes) -> None:
    with pytest.raises(ValueError, match="exactly once"):
        digest.stamp(data)


def test_the_placeholder_has_the_digests_form() -> None:
    assert re.fullmatch(r"edge-effnet:sha256:0{64}", digest.PLACEHOLDER)
