"""Entry points: where they lead, against a decoder in plain Python; and that a JPEG with them is the same picture."""

import io

import cv2
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from fastpt.jpeg import entropy
from tests.jpeg import libffcv
from tests.jpeg.test_entropy import COMMON, SIZE, jpeg, mutated

pytestmark = pytest.mark.skipif(not entropy.is_built(), reason="fastpt/jpeg was not built")
NAME = b"fastpt\0"
WIDE = (301, 77)  # 19 MCUs of 16 pixels a row: three entries


def noted(source: bytes, size=SIZE) -> bytes:
    """The JPEG with entry points."""
    result = entropy.note_entry_points(source, size)
    assert result.sound
    assert result.has_entry_points
    return result.jpeg


def segments(source: bytes) -> list[tuple[int, bytes]]:
    """Marker and body of each segment before the scan's data, and (0, the rest)."""
    found, at = [], 2
    while not found or found[-1][0] != 0xDA:
        end = at + 2 + int.from_bytes(source[at + 2 : at + 4])
        found.append((source[at + 1], source[at + 4 : end]))
        at = end
    return [*found, (0, source[at:])]


def joined(parts: list[tuple[int, bytes]]) -> bytes:
    head = [b"\xff" + bytes([marker]) + (len(body) + 2).to_bytes(2) + body for marker, body in parts[:-1]]
    return b"\xff\xd8" + b"".join(head) + parts[-1][1]


def with_segment(source: bytes, *bodies: bytes) -> bytes:
    return joined([*((0xE9, body) for body in bodies), *segments(source)])


# --- a decoder of places and DC values, bit by bit ----------------------------------------------------------------


def mcu_starts(source: bytes) -> tuple[np.ndarray, int]:
    """Place and DC predictors before every MCU, int64 [MCUs, 1 + components], and how many MCUs are a row."""
    parts = segments(source)
    codes: dict[int, dict[tuple[int, int], int]] = {}
    for _, body in (part for part in parts if part[0] == 0xC4):
        while body:
            counts, symbols, code = body[1:17], iter(body[17:]), 0
            table = codes[body[0]] = {}
            for length, count in enumerate(counts, 1):
                for _ in range(count):
                    table[length, code] = next(symbols)
                    code += 1
                code <<= 1
            body = body[17 + sum(counts) :]
    frame = next(body for marker, body in parts if marker == 0xC0)
    scan = next(body for marker, body in parts if marker == 0xDA)
    height, width, count = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5]), frame[5]
    sampling = [divmod(frame[7 + 3 * i], 16) if count > 1 else (1, 1) for i in range(count)]
    (h, v), data = sampling[0], parts[-1][1]
    across, down = -(-width // (8 * h)), -(-height // (8 * v))
    stored = [i for i in range(len(data)) if not (data[i] == 0 and i > 0 and data[i - 1] == 0xFF)]
    at = 0  # bits, without stuffed zeros

    def bits(number: int) -> int:
        nonlocal at
        value = 0
        for _ in range(number):
            value = value << 1 | data[stored[at // 8]] >> (7 - at % 8) & 1
            at += 1
        return value

    def symbol(table: dict[tuple[int, int], int]) -> int:
        code = length = 0
        while (length, code) not in table:
            code, length = code << 1 | bits(1), length + 1
        return table[length, code]

    starts, dc = [], [0] * count
    for _ in range(across * down):
        starts.append([8 * stored[at // 8] + at % 8, *dc])
        for i, (across_block, down_block) in enumerate(sampling):
            of_dc, of_ac = codes[scan[2 + 2 * i] >> 4], codes[16 + (scan[2 + 2 * i] & 15)]
            for _ in range(across_block * down_block):
                size = symbol(of_dc)
                value = bits(size)
                dc[i] += value if size == 0 or value >> (size - 1) else value - (1 << size) + 1
                k = 1
                while k < 64:
                    run, size = divmod(symbol(of_ac), 16)
                    if size == 0 and run < 15:
                        break
                    bits(size)
                    k += run + 1
    return np.array(starts), across


KINDS = {
    "4:2:0": {},
    "4:2:2": {"subsampling": "4:2:2"},
    "4:4:4, much in it": {"subsampling": "4:4:4", "quality": 100},
    "own Huffman tables": {"optimize": True},
    "coarse": {"quality": 5},
    "grey": {"mode": "L"},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("size", [WIDE, (65, 66)])
def test_entries_lead_to_where_mcus_begin(options, size):
    source = jpeg(size=size, **options)
    entries, spacing = entropy.entry_points(noted(source, size))
    starts, across = mcu_starts(source)
    wanted = starts.reshape(-1, across, starts.shape[1])[:, ::8].reshape(-1, starts.shape[1])
    assert spacing == 8
    assert np.array_equal(entries["place"], wanted[:, 0])
    assert np.array_equal(entries["dc"][:, : starts.shape[1] - 1], wanted[:, 1:])


def test_the_segment_is_what_entries_h_says():
    source = jpeg(size=WIDE)
    (marker, _), (ours, body), *rest = segments(noted(source, WIDE))
    assert (marker, ours) == (0xE0, 0xE9)
    assert body[:10] == NAME + b"\x01\x08\x00"
    assert joined([segments(source)[0], *rest]) == source
    starts, _ = mcu_starts(source)
    place, *dc = starts[8]
    numbers = [place, *(2 * n if n >= 0 else -2 * n - 1 for n in dc)]
    assert place > 127  # a number of two bytes
    leb128 = b"".join(bytes([*(n >> s & 127 | 128 for s in range(0, n.bit_length() - 7, 7) if n > 127),
                             n >> 7 * max(0, (n.bit_length() - 1) // 7)]) for n in map(int, numbers))  # fmt: skip
    assert body[10 : 10 + len(leb128)] == leb128


def test_without_a_jfif_segment_entries_come_first():
    source = joined(segments(jpeg(size=WIDE))[1:])
    assert [marker for marker, _ in segments(noted(source, WIDE))][:2] == [0xE9, 0xDB]


def test_entries_are_noted_again_and_not_twice():
    once = noted(jpeg(size=WIDE), WIDE)
    assert noted(once, WIDE) == once
    assert noted(with_segment(once, NAME + b"\x01\x08\x00nonsense", NAME + b"\x02"), WIDE) == once


def test_segments_of_others_stay():
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    source = with_segment(jpeg(size=WIDE, exif=exif, icc_profile=b"p" * 150_000), b"fast", b"fastpt is not it", b"")
    parts = segments(noted(source, WIDE))
    assert [part for part in parts if not part[1].startswith(NAME)] == segments(source)
    assert sum(body.startswith(NAME) for _, body in parts) == 1


@pytest.mark.parametrize(
    ("options", "sound"),
    [
        ({"restart_marker_rows": 1}, True),
        ({"progressive": True}, False),
        ({"mode": "CMYK"}, False),
        ({"size": (1, 1)}, True),
        ({"size": (16, 48)}, True),  # 3 MCUs
    ],
    ids=["restarts", "progressive", "CMYK", "one pixel", "small"],
)
def test_pictures_that_get_none_lose_what_they_came_with(options, sound):
    size = options.get("size", WIDE)
    source = jpeg(**{"size": size, **options})
    for forged in (source, with_segment(source, NAME + b"\x01\x08\x00" + b"\x05" * 50)):
        result = entropy.note_entry_points(forged, size)
        assert (result.jpeg, result.sound, result.has_entry_points) == (source, sound, False)


def test_what_is_not_sound_or_no_jpeg_at_all_stays_as_it_is():
    for source in (jpeg(size=WIDE)[:-9], b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xe0\0", b"no JPEG"):
        result = entropy.note_entry_points(source, WIDE)
        assert (result.jpeg, result.sound, result.has_entry_points) == (source, False, False)


def test_the_spacing_widens_until_the_entries_fit():
    size = (3000, 4000)  # grey: 187,500 MCUs, of which 23,500 entries of 3 bytes are too many
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, size[::-1], np.uint8)).save(buffer, "JPEG", quality=20)
    stored = noted(buffer.getvalue(), size)
    entries, spacing = entropy.entry_points(stored)
    assert spacing == 16
    assert len(entries) == 500 * -(-375 // 16)
    assert (np.diff(entries["place"].astype(np.int64)) > 0).all()


def test_a_picture_in_which_lanes_never_meet_is_walked_by_one():
    size = (1600, 650)
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 90)).save(buffer, "JPEG")  # every MCU is the same few bits
    entries, _ = entropy.entry_points(noted(buffer.getvalue(), size))
    starts, across = mcu_starts(buffer.getvalue())
    assert np.array_equal(entries["place"], starts.reshape(-1, across, 4)[:, ::8, 0].ravel())


# --- everybody reads the same pixels ------------------------------------------------------------------------------


def with_dali(source: bytes) -> np.ndarray:
    from nvidia.dali import fn, pipeline_def

    @pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def decoding():
        jpegs = fn.external_source(lambda: [np.frombuffer(source, np.uint8)], dtype=None)
        return fn.decoders.image(jpegs, device="cpu")

    return decoding().run()[0].as_array()[0]


def with_ffcv(source: bytes) -> np.ndarray:
    width, height = Image.open(io.BytesIO(source)).size
    pixels = np.empty((height, width, 3), np.uint8)
    assert libffcv.decode(np.frombuffer(source, np.uint8), pixels)
    return pixels


READERS = {
    "Pillow": lambda source: np.asarray(Image.open(io.BytesIO(source))),
    "OpenCV": lambda source: cv2.imdecode(np.frombuffer(source, np.uint8), cv2.IMREAD_UNCHANGED),
    "torchvision": lambda source: torchvision.io.decode_jpeg(torch.frombuffer(bytearray(source), dtype=torch.uint8)),
    "DALI": with_dali,
    "libffcv": with_ffcv,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("options", [{}, {"subsampling": "4:4:4"}, {"mode": "L"}], ids=["4:2:0", "4:4:4", "grey"])
def test_readers_see_the_same_pixels_with_entries_as_without(read, options):
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    source = jpeg(size=WIDE, exif=exif, **options)
    assert np.array_equal(read(noted(source, WIDE)), read(source))


# --- hostile ones -------------------------------------------------------------------------------------------------


def test_the_first_segment_counts_and_other_versions_do_not():
    source = jpeg(size=WIDE)
    body = segments(noted(source, WIDE))[1][1]
    wanted, _ = entropy.entry_points(with_segment(source, body))
    assert len(wanted) == 15
    found, _ = entropy.entry_points(with_segment(source, body, NAME + b"\x01\x10\x00"))
    assert np.array_equal(found, wanted)
    for other in (NAME + b"\x02" + body[8:], NAME + b"\x00" + body[8:], NAME, NAME + b"\x01", NAME + b"\x01\x08"):
        assert entropy.entry_points(with_segment(source, other)) == (pytest.approx([]), 0)


@pytest.mark.parametrize(
    "changes",
    [
        b"",
        b"\x01\x00\x00",
        b"\x00" * 200,  # no place is reached twice
        b"\xff" * 200,  # numbers of more than 32 bits
        b"\xff\xff\xff\xff\x0f\x00\x00\x00" * 50,  # past the end
        b"\xff\xff\xff\xff",
    ],
)
def test_wrong_entries_are_found_wrong(changes):
    source = with_segment(jpeg(size=WIDE), NAME + b"\x01\x08\x00" + changes)
    assert len(entropy.entry_points(source)[0]) == 0


def test_predictors_may_be_anything():
    changes = b"\x10\xff\xff\xff\xff\x0f\xff\xff\xff\xff\x0f\xff\xff\xff\xff\x0f" * 14
    entries, _ = entropy.entry_points(with_segment(jpeg(size=WIDE), NAME + b"\x01\x08\x00" + changes))
    assert entries["dc"][1].tolist() == [-(2**31)] * 3
    assert entries["dc"][2].tolist() == [0] * 3  # around the end of 32 bits


@pytest.mark.parametrize("options", [*COMMON.values(), {"size": WIDE}, {"mode": "CMYK"}])
def test_what_is_noted_of_damaged_jpegs_is_what_is_sound(options):
    size, rng = options.get("size", SIZE), np.random.default_rng(0)
    whole = entropy.note_entry_points(jpeg(**options), size).jpeg
    for _ in range(400):
        damaged = mutated(whole, rng)
        result = entropy.note_entry_points(damaged, size)
        assert result.sound == entropy.is_sound(damaged, size)
        entropy.entry_points(damaged)
        if result.sound:
            assert np.array_equal(*(np.asarray(Image.open(io.BytesIO(one))) for one in (damaged, result.jpeg)))
