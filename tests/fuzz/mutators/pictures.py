"""Mutators of photos: chunks, segments, boxes and directories of each format."""

from __future__ import annotations

import random
import struct
import zlib

from fuzz.mutators import EXTREMES
from fuzz.mutators.raw import flip_bits

_Chunks = list[tuple[bytes, bytes]]
_PNG = b"\x89PNG\r\n\x1a\n"
_SIDES = (0, 1, 2, 255, 4096, 65535, 2**20, 2**31 - 1, 2**32 - 1)


def png_chunk(data: bytes, dice: random.Random) -> bytes:
    """A chunk changed, doubled, moved or dropped; its checksum is right."""
    chunks = _png(data)
    place = dice.randrange(len(chunks))
    name, content = chunks[place]
    match dice.randrange(6):
        case 0 if content:
            chunks[place] = (name, flip_bits(content, dice))
        case 1:
            chunks.insert(place, chunks[dice.randrange(len(chunks))])
        case 2:
            del chunks[place]
        case 3:
            names = (
                b"IDAT",
                b"tRNS",
                b"PLTE",
                b"iCCP",
                b"zTXt",
                b"eXIf",
                b"acTL",
                b"fdAT",
                b"IEND",
                b"XXXX",
            )
            chunks[place] = (dice.choice(names), content)
        case 4:  # text that unpacks to much
            chunks.insert(
                1, (b"zTXt", b"a\0\0" + zlib.compress(bytes(dice.choice((9, 80 << 20))), 1))
            )
        case _:
            chunks[0] = (b"IHDR", _png_header(chunks[0][1], dice))
    return _PNG + b"".join(
        struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks
    )


def jpeg_segment(data: bytes, dice: random.Random) -> bytes:
    """A segment changed, doubled, moved or dropped, or a number of the frame's header."""
    segments = _jpeg(data)
    place = dice.randrange(1, len(segments))
    match dice.randrange(6):
        case 0:
            del segments[place]
        case 1:
            segments[place:place] = [dice.choice(segments)] * dice.choice((1, 2, 40))
        case 2:
            other = dice.randrange(1, len(segments))
            segments[place], segments[other] = segments[other], segments[place]
        case 3:
            segments[place] = segments[place][:4] + flip_bits(segments[place][4:], dice)
        case 4:  # many scans
            scans = [each for each in segments if each[1] == 0xDA]
            segments[-1:-1] = scans * dice.choice((2, 30, 3000 // len(scans)))
        case _:
            frame = next(n for n, each in enumerate(segments) if each[1] in (0xC0, 0xC1, 0xC2))
            changed = bytearray(segments[frame])
            at = dice.choice((1, 4, 5, 7, 9, 11, 12))
            side = struct.pack(">H", dice.choice(_SIDES) % 65536)
            changed[at : at + 2] = side if at in (5, 7) else bytes([dice.randrange(256)])
            segments[frame] = bytes(changed)
    return b"".join(segments)


def riff_chunk(data: bytes, dice: random.Random) -> bytes:
    """A chunk of a WebP changed, doubled, dropped, or of another length."""
    at, chunks = 12, []
    while at + 8 <= len(data):
        size = struct.unpack_from("<I", data, at + 4)[0]
        chunks.append([data[at : at + 4], size, data[at + 8 : at + 8 + size]])
        at += 8 + size + size % 2
    place = dice.randrange(len(chunks))
    match dice.randrange(5):
        case 0:
            chunks[place][1] = dice.choice(EXTREMES) % 2**32
        case 1:
            chunks[place][0] = dice.choice(
                (b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"EXIF")
            )
        case 2:
            chunks[place:place] = [chunks[place]] * dice.choice((1, 2, 500))
        case 3:
            chunks[place][2] = flip_bits(chunks[place][2], dice)
        case _:
            del chunks[place]
    body = b"".join(n + struct.pack("<I", s) + c + b"\0" * (len(c) % 2) for n, s, c in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def box(data: bytes, dice: random.Random) -> bytes:
    """A number of a box of an AVIF: its length, its name, or a field of it."""
    names = [
        n
        for n in range(4, len(data) - 4)
        if data[n : n + 4].isalpha() and data[n - 4 : n - 1] == b"\0\0\0"
    ]
    place = dice.choice(names)
    match dice.randrange(3):
        case 0:
            value = struct.pack(">I", dice.choice(EXTREMES) % 2**32)
            return data[: place - 4] + value + data[place:]
        case 1:
            other = dice.choice(names)
            return data[:place] + data[other : other + 4] + data[place + 4 :]
        case _:
            at = place + 4 + dice.randrange(24)
            value = struct.pack(">I", dice.choice((*_SIDES, *EXTREMES)) % 2**32)
            return data[:at] + value + data[at + 4 :]


def tiff_entry(data: bytes, dice: random.Random) -> bytes:
    """An entry of the directory: tag, type, count or value; or the next directory."""
    order = "<" if data[:2] == b"II" else ">"
    start = struct.unpack_from(f"{order}I", data, 4)[0]
    count = struct.unpack_from(f"{order}H", data, start)[0]
    entries = [struct.unpack_from(f"{order}HHII", data, start + 2 + 12 * n) for n in range(count)]
    place = dice.randrange(count)
    tag, kind, number, value = entries[place]
    match dice.randrange(6):
        case 0:
            tag = dice.choice(
                (256, 257, 258, 259, 262, 273, 277, 278, 279, 317, 320, 322, 339, 34675)
            )
        case 1:
            kind = dice.choice((0, 1, 2, 3, 4, 5, 7, 11, 12, 16, 99))
        case 2:
            number = dice.choice(EXTREMES) % 2**32
        case 3:
            del entries[place]
        case _:
            value = dice.choice((*_SIDES, *EXTREMES, dice.randrange(40), 32946, 50000)) % 2**32
    if len(entries) == count:
        entries[place] = (tag, kind, number, value)
    following = dice.choice((0, 0, start, 2**32 - 1))
    table = struct.pack(f"{order}H", len(entries)) + b"".join(
        struct.pack(f"{order}HHII", *entry) for entry in entries
    )
    return (
        data[:start] + table + struct.pack(f"{order}I", following) + data[start + 6 + 12 * count :]
    )


def gif_block(data: bytes, dice: random.Random) -> bytes:
    """A side, a flag, or a frame of a GIF."""
    match dice.randrange(3):
        case 0:
            at = dice.choice((6, 8))
            return data[:at] + struct.pack("<H", dice.choice(_SIDES) % 65536) + data[at + 2 :]
        case 1:
            return data[:10] + bytes([dice.randrange(256)]) + data[11:]
        case _:
            frames = data.index(b"\x2c", 13)
            return data[:frames] + data[frames:-1] * dice.choice((2, 100)) + data[-1:]


def header_number(data: bytes, dice: random.Random) -> bytes:
    """A number in the first bytes: BMP, ICO, PPM and others."""
    at, width = dice.randrange(2, 60), dice.choice((1, 2, 4))
    value = dice.choice((*_SIDES, *EXTREMES)) % 256**width
    return data[:at] + value.to_bytes(width, dice.choice(("little", "big"))) + data[at + width :]  # type: ignore[arg-type]


def _png_header(content: bytes, dice: random.Random) -> bytes:
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", content)
    match dice.randrange(4):
        case 0:
            width = dice.choice(_SIDES)
        case 1:
            height = dice.choice(_SIDES)
        case 2:
            depth = dice.choice((1, 2, 4, 8, 16, 3))
        case _:
            colour = dice.choice((0, 2, 3, 4, 6, 1))
    return struct.pack(">IIBBBBB", width, height, depth, colour, *rest)


def _png(data: bytes) -> _Chunks:
    at, chunks = len(_PNG), []
    while at + 8 <= len(data):
        size = struct.unpack_from(">I", data, at)[0]
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return chunks


def _jpeg(data: bytes) -> list[bytes]:
    """The segments, each with its marker; a scan's data belong to its segment."""
    places = [
        n
        for n in range(len(data) - 1)
        if data[n] == 0xFF and 0xC0 <= data[n + 1] <= 0xFE and not 0xD0 <= data[n + 1] <= 0xD7
    ]
    kept, least = [], 0
    for place in places:
        if place >= least:
            kept.append(place)
            marker = data[place + 1]
            length = (
                2 if marker in (0xD8, 0xD9) else 2 + struct.unpack_from(">H", data, place + 2)[0]
            )
            least = place + length
    return [data[a:b] for a, b in zip(kept, [*kept[1:], len(data)], strict=True)]
