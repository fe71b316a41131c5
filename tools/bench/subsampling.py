"""How often --subsampling auto chooses wrongly, either way, by the PSNR of what is stored.

    python -m tools.bench.subsampling photos_fullsize.tar pacs_96.tar [--count 200]

Pictures of the given places, reduced to each --max-side, and drawn ones: as PNG, and as JPEG of twice the size that is
reduced. Missed are those kept at 4:2:0 though that leaves less than 35 dB, wasted those stored at 4:4:4 though it
leaves more. PSNR is over R, G and B, against the pixels that were to be encoded.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw

from datasets_prep.images.policy import ImagePolicy, RejectedImage, encode
from fastpt.storage.files import open_files
from fastpt.storage.names import is_image
from tools.bench import machine

ENOUGH = 35.0  # dB
QUALITY = 90
KEPT = ["PNG", "JPEG"]


def photos(place: Path, count: int, max_side: int) -> Iterator[bytes]:
    """Pictures of a folder or an archive that are to be encoded: as they are if larger, else as PNG."""
    files = open_files(place)
    names = [name for name in files.names() if is_image(name)]
    for i in np.random.default_rng(0).permutation(len(names))[:count]:
        source = files.read(names[i])
        with Image.open(io.BytesIO(source), formats=KEPT) as image:
            yield source if max(image.size) > max_side else saved(image.convert("RGB"), "PNG")


def saved(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


# --- drawn pictures -----------------------------------------------------------------------------------------------

Draw = Callable[[ImageDraw.ImageDraw, np.random.Generator, int, int, int], None]  # on it, at random, width, height, pen


def colour(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(rng.integers(0, 256, 3).tolist())


def icons(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int, pen: int) -> None:
    for i in range(6):
        xs, ys = sorted(rng.integers(0, width, 2).tolist()), sorted(rng.integers(0, height, 2).tolist())
        shape = draw.ellipse if i % 2 else draw.rectangle
        shape([xs[0], ys[0], xs[1], ys[1]], fill=colour(rng), outline=colour(rng), width=pen)


def lines(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int, pen: int) -> None:
    for _ in range(40):
        draw.line(rng.integers(0, max(width, height), 4).tolist(), fill=colour(rng), width=pen)


def coloured_text(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int, pen: int) -> None:
    for y in range(0, height, 14 * pen):
        text = "".join(map(chr, rng.integers(97, 123, 60)))
        draw.text((4, y), text, fill=colour(rng) if y % 3 == 0 else "black", font_size=11 * pen)


def black_text(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int, pen: int) -> None:
    draw.rectangle([0, 0, width, height], fill="white")
    for y in range(0, height, 14 * pen):
        draw.text((4, y), "".join(map(chr, rng.integers(97, 123, 60))), fill="black", font_size=11 * pen)


def pixel_art(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int, pen: int) -> None:
    palette, side = [colour(rng) for _ in range(8)], 4 * pen
    for x in range(0, width, side):
        for y in range(0, height, side):
            draw.rectangle([x, y, x + side, y + side], fill=palette[rng.integers(8)])


def charts(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int, pen: int) -> None:
    for i in range(8):
        left = 20 * pen + i * width // 9
        draw.rectangle([left, int(rng.integers(0, height)), left + width // 12, height], fill=colour(rng))
    for _ in range(2):
        points = [(i * width // 8, int(rng.integers(0, height))) for i in range(9)]
        draw.line(points, fill=colour(rng), width=2 * pen)


def gradients(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int, pen: int) -> None:
    ends = np.array([colour(rng), colour(rng)], float)
    for y in range(height):
        draw.line([0, y, width, y], fill=tuple((ends[0] + (ends[1] - ends[0]) * y / height).astype(int).tolist()))


def drawn(draw: Draw, count: int, pen: int) -> Iterator[bytes]:
    """PNGs; of a pen of 2, JPEGs of twice the size, to be reduced."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        width, height = (pen * rng.integers(48, 400, 2)).tolist()
        image = Image.new("RGB", (width, height), colour(rng) if rng.random() < 0.5 else "white")
        draw(ImageDraw.Draw(image), rng, width, height, pen)
        yield saved(image, "PNG") if pen == 1 else saved(image, "JPEG", quality=95, subsampling="4:4:4")


# --- judging ------------------------------------------------------------------------------------------------------


def psnr(jpeg: bytes, source: bytes) -> float:
    """dB of a stored JPEG against its source, reduced by area."""
    import cv2

    pixels = np.asarray(Image.open(io.BytesIO(jpeg), formats=["JPEG"]).convert("RGB"))
    wanted = np.asarray(Image.open(io.BytesIO(source), formats=KEPT).convert("RGB"))
    if wanted.shape != pixels.shape:
        wanted = cv2.resize(wanted, pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
    return 10 * np.log10(255**2 / max(np.square(pixels.astype(float) - wanted).mean(), 1e-9))


def judged(sources: Iterator[bytes], side: Callable[[bytes], int]) -> str:
    """A line of the table."""
    found = []
    for source in sources:
        limit = side(source)
        try:
            chosen = encode(source, ImagePolicy(limit, QUALITY))
            halved = encode(source, ImagePolicy(limit, QUALITY, "420"))
        except RejectedImage:
            continue
        at_420 = psnr(halved.jpeg, source)
        is_whole = chosen.encoded == "444"
        stored = psnr(chosen.jpeg, source)
        found.append((is_whole, at_420, stored, len(chosen.jpeg), len(halved.jpeg)))
    if not found:
        return "no pictures"
    whole, at_420, stored, size, halved_size = np.array(found, float).T
    low = at_420 < ENOUGH
    missed, wasted = (low & (whole == 0)).mean(), (~low & (whole == 1)).mean()
    levels = f"{np.median(at_420):5.1f} {at_420.min():5.1f}    {np.median(stored):5.1f} {stored.min():5.1f}"
    bytes_more = size.sum() / halved_size.sum()
    return f"{len(found):5} {whole.mean():6.1%}   {levels}   {missed:6.1%} {wasted:6.1%}   {bytes_more:5.2f}"


@click.command()
@click.argument("places", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--count", type=click.IntRange(1), default=200, show_default=True, help="Pictures a set.")
@click.option("--max-side", "sides", multiple=True, default=(500, 224, 96), show_default=True, type=click.IntRange(1))
@machine.told()
def main(places: tuple[Path, ...], count: int, sides: tuple[int, ...]) -> None:
    """Judge the choice of subsampling on pictures of PLACES and on drawn ones."""
    print(f"{'':30}     n  4:4:4   4:2:0: median, min   stored: median, min   missed wasted   bytes")
    for place in places:
        for side in sides:
            line = judged(photos(place, count, side), lambda _, side=side: side)
            print(f"{f'{place.stem} at {side}':30} {line}", flush=True)
    for draw in (icons, charts, lines, coloured_text, pixel_art, black_text, gradients):
        print(f"{draw.__name__:30} {judged(drawn(draw, count, 1), lambda _: 10_000)}", flush=True)
        print(f"{f'{draw.__name__}, as JPEG, halved':30} {judged(drawn(draw, count, 2), half_side)}", flush=True)


def half_side(source: bytes) -> int:
    with Image.open(io.BytesIO(source), formats=KEPT) as image:
        return max(image.size) // 2


if __name__ == "__main__":
    main()
