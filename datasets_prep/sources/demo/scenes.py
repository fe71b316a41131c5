"""The built-in demo set: a small drawn world that needs no download.

Objects are drawn once, as shapes (drawings.py), and shown in three domains: photos with light, texture and
clutter (`train`, `val`, and the downstream set `leaves`), flat `clipart`, and line `sketch`. The downstream set
`textures` shows the patterns alone. Every picture is a pure function of (seed, split, index), rendered when it is read.
Colours, settings and poses are drawn alike for all classes, so only the form gives a class away.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFilter

from datasets_prep.listing import SplitListing
from datasets_prep.sources.demo.drawings import LEAVES, OBJECTS, PATTERNS, TAU, Rng, Shape, arc, noise, smooth

COLOURS = {
    "red": (205, 50, 45),
    "orange": (235, 135, 40),
    "yellow": (235, 205, 70),
    "green": (70, 150, 70),
    "turquoise": (60, 175, 170),
    "blue": (60, 95, 190),
    "purple": (130, 75, 165),
    "pink": (230, 140, 175),
    "brown": (130, 85, 55),
    "grey": (140, 140, 145),
    "white": (238, 236, 228),
    "black": (48, 46, 52),
}

DARK, LIGHT = (52, 44, 42), (240, 232, 215)

# Where a photo is taken: words -> (pattern or size of the noise, its two colours; None: any).
GROUNDS: dict[str, tuple[str | tuple[int, int], tuple | None]] = {
    "on a striped cloth": ("striped", None),
    "on a chequered tablecloth": ("chequered", None),
    "on a dotted carpet": ("dotted", None),
    "on a zigzag blanket": ("zigzag", None),
    "on a woven mat": ("woven", None),
    "on a tiled floor": ("scaly", None),
    "in front of a brick wall": ("bricked", ((190, 180, 165), (165, 85, 65))),
    "on cracked mud": ("cracked", ((75, 60, 50), (165, 140, 115))),
    "on a wooden table": ((3, 24), ((105, 65, 35), (185, 130, 80))),
    "in the grass": ((48, 10), ((40, 80, 30), (130, 175, 70))),
    "on the sand": ((60, 60), ((180, 150, 105), (230, 205, 160))),
    "under a cloudy sky": ((4, 5), ((110, 150, 205), (235, 238, 240))),
    "in the snow": ((7, 14), ((190, 200, 215), (250, 250, 252))),
    "in the fog": ((2, 3), ((140, 145, 150), (205, 208, 210))),
}
PAPERS = {
    "on white paper": ((248, 247, 243), (60, 60, 65)),
    "on brown paper": ((200, 170, 130), (60, 40, 30)),
    "on lined paper": ((245, 245, 238), (40, 55, 130)),
    "on squared paper": ((242, 245, 248), (50, 50, 60)),
    "on a blackboard": ((45, 58, 52), (230, 232, 225)),
}
TITLES = {
    "photo": ("a photo of {}", "a picture of {}", "an image of {}", "a snapshot of {}", "{}", "there is {}"),
    "clipart": ("a clip art of {}", "a flat icon of {}", "a sticker of {}", "a cartoon of {}", "a graphic of {}"),
    "sketch": ("a sketch of {}", "a pencil drawing of {}", "a doodle of {}", "a line drawing of {}", "{}, sketched"),
}


# --- Scenes: what a caption tells. ---


class Scene(NamedTuple):
    """What a picture shows. It is drawn before anything that only the pixels tell, so captions need no rendering."""

    colour: str
    second: str
    ground: str  # a key of GROUNDS (photo), COLOURS (clipart) or PAPERS (sketch)
    scale: float  # half the object's size, as a share of the picture's shorter side
    caption: str


def article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def describe(rng: Rng, domain: str, thing: str) -> Scene:
    colour, second, third = rng.choice(list(COLOURS), 3, replace=False).tolist()
    ground = third if domain == "clipart" else str(rng.choice(list(PAPERS if domain == "sketch" else GROUNDS)))
    scale = rng.uniform(0.27, 0.5)
    size = "small " if scale < 0.35 else "big " if scale > 0.45 else ""
    hue = "" if domain == "sketch" else f"{colour} and {second} " if rng.random() < 0.2 else f"{colour} "
    where = f"on {article(ground)} background" if domain == "clipart" else ground
    caption = str(rng.choice(TITLES[domain])).format(article(size + hue + thing))
    style = rng.random()  # most captions tell the setting, some tell it first
    caption = caption if style < 0.15 else f"{where}, {caption}" if style < 0.25 else f"{caption} {where}"
    return Scene(colour, second, ground, scale, caption)


# --- Rendering: an object's shapes are posed once, then painted in the manner of the domain. ---


def pose(shapes: list[Shape], scale: float, w: int, h: int, rng: Rng) -> list[Shape]:
    """The shapes in pixels of a (w, h) canvas: turned, sheared, bent, perhaps mirrored, and moved off the centre."""
    turn, shear, squeeze = rng.normal(0, 0.2), rng.uniform(-0.2, 0.2), rng.uniform(0.85, 1.2)
    flip, bend, phase = rng.choice([-1, 1]), rng.uniform(-0.1, 0.1), rng.uniform(0, TAU)
    unit = scale * min(w, h)
    spin = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    matrix = np.array([[flip * squeeze, 0], [shear, 1 / squeeze]]) @ spin * unit
    middle = np.array([w, h]) / 2
    centre = middle + rng.uniform(-1, 1, 2) * np.maximum(middle - unit, 0)

    def place(points: np.ndarray) -> np.ndarray:
        return (points + bend * np.sin(2 * points[:, ::-1] + phase)) @ matrix + centre

    return [Shape(s.tone, place(s.points), s.width * unit) for s in shapes]


def draw(canvas: ImageDraw.ImageDraw, shape: Shape, fill: tuple[int, int, int] | int) -> None:
    points = shape.points.ravel().tolist()
    if shape.width:
        canvas.line(points, fill, max(1, round(shape.width)), "curve")
    else:
        canvas.polygon(points, fill)


def rgb(colour: ArrayLike) -> tuple[int, int, int]:
    """A colour as Pillow takes it."""
    red, green, blue = np.clip(colour, 0, 255).astype(int).tolist()
    return red, green, blue


def tones(scene: Scene, rng: Rng, jitter: float) -> dict[str, tuple[int, int, int]]:
    """The colour of each tone."""
    inks = {"main": COLOURS[scene.colour], "second": COLOURS[scene.second], "dark": DARK, "light": LIGHT}
    return {tone: rgb(ink + rng.normal(0, jitter, 3)) for tone, ink in inks.items()}


def pattern_field(name: str, h: int, w: int, rng: Rng) -> np.ndarray:
    """A pattern as a camera sees it, float [h, w] in 0..1: turned, scaled, in perspective and a little wavy."""
    y, x = np.mgrid[0:h, 0:w] / min(h, w) - 0.5
    turn, repeats, tilt = rng.uniform(0, TAU), rng.uniform(2.5, 6), rng.uniform(-0.4, 0.4, 2)
    depth = repeats / (1 + tilt[0] * x + tilt[1] * y)
    u, v = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    wave, phase = rng.uniform(0, 0.03), rng.uniform(0, TAU, 2)
    u, v = u + wave * np.sin(9 * v + phase[0]), v + wave * np.sin(9 * u + phase[1])
    return PATTERNS[name](u * depth + phase[0], v * depth + phase[1], rng)


def backdrop(ground: str, avoid: str, h: int, w: int, rng: Rng) -> np.ndarray:
    """The background of a photo, float32 [h, w, 3] in 0..255. Its colours are muted, and not the object's."""
    pattern, colours = GROUNDS[ground]
    if colours is None:
        names = rng.choice([c for c in COLOURS if c != avoid], 2, replace=False)
        colours = [np.array(COLOURS[c]) * 0.6 + 20 for c in names]
    low, high = np.array(colours) + rng.normal(0, 12, (2, 3))
    field = pattern_field(pattern, h, w, rng) if isinstance(pattern, str) else noise(rng, h, w, *pattern)
    return (low + (high - low) * field[..., None]).astype(np.float32)


def clutter(picture: Image.Image, n: int, size: float, rng: Rng) -> None:
    """Scatter n things that are no object: blobs, twigs, and single parts of other objects."""
    canvas, names, palette = ImageDraw.Draw(picture), list(OBJECTS), list(COLOURS.values())
    for _ in range(n):
        kind = rng.integers(3)
        colour = rgb(np.array(palette[rng.integers(len(palette))]) * 0.8 + 20)
        at, r = rng.uniform(0, 1, 2) * picture.size, rng.uniform(0.4, 1) * size
        if kind == 0:
            thing = Shape("main", smooth(arc(0, 0, 1, 1, 0, 0.85, 6) * rng.uniform(0.4, 1, (6, 1))))
        elif kind == 1:
            thing = Shape("main", smooth(rng.uniform(-1.6, 1.6, (3, 2)))[:10], rng.uniform(0.1, 0.25))
        else:
            parts = OBJECTS[names[rng.integers(len(names))]](rng)
            thing = parts[rng.integers(len(parts))]
        draw(canvas, Shape("main", thing.points * r * rng.choice([-1, 1], 2) + at, thing.width * r), colour)


def expose(picture: Image.Image, rng: Rng) -> np.ndarray:
    """What a camera makes of a picture, float [h, w, 3]: uneven, tinted light, a soft lens, a grainy sensor."""
    w, h = picture.size
    seen = np.asarray(picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.4))), np.float32)
    slope = rng.normal(0, 0.15, 2)
    gain = rng.uniform(0.75, 1.15) + slope[0] * np.linspace(-1, 1, w) + slope[1] * np.linspace(-1, 1, h)[:, None]
    grain = rng.standard_normal((h, w, 3), np.float32) * rng.uniform(2, 14)
    return seen * (gain[..., None] * rng.normal(1, 0.05, 3)).astype(np.float32) + grain


def photo(scene: Scene, shapes: list[Shape], rng: Rng) -> np.ndarray:
    """Float [h, w, 3]: the object, rounded by a light from one side, with texture and a shadow, amid clutter."""
    w, h = rng.integers(64, 97, 2).tolist()
    back = Image.fromarray(backdrop(scene.ground, scene.colour, h, w, rng).clip(0, 255).astype(np.uint8))
    clutter(back, int(rng.integers(2, 6)), 0.15 * min(w, h), rng)
    # The object is drawn at twice the size, for smooth edges; `form` holds the heights of its parts, for the light.
    paint, form = Image.new("RGB", (2 * w, 2 * h)), Image.new("L", (2 * w, 2 * h))
    on_paint, on_form, ink = ImageDraw.Draw(paint), ImageDraw.Draw(form), tones(scene, rng, 14)
    for shape in pose(shapes, scene.scale, 2 * w, 2 * h, rng):
        draw(on_paint, shape, ink[shape.tone])
        draw(on_form, shape, int(rng.integers(150, 256)))
    form = form.reduce(2)
    mask = form.point([min(255, level * 2) for level in range(256)])  # a little wider: the paint gets a dark rim
    shadow = mask.transform(mask.size, Image.Transform.AFFINE, (1, 0, rng.uniform(-5, 5), 0, 1, -rng.uniform(0, 5)))
    shadow = np.asarray(shadow.filter(ImageFilter.GaussianBlur(2.5)), np.float32) * (rng.uniform(0, 0.6) / 255)
    down, right = np.gradient(np.asarray(form.filter(ImageFilter.GaussianBlur(2)), np.float32))
    turn = rng.uniform(0, TAU)
    light = 1 + 0.02 * (np.cos(turn) * right + np.sin(turn) * down) + 0.3 * (noise(rng, h, w, 20, 20) - 0.5)
    cover = np.asarray(mask, np.float32)[..., None] / 255
    seen = np.asarray(back, np.float32) * (1 - shadow[..., None]) * (1 - cover)
    seen += np.asarray(paint.reduce(2), np.float32) * light.clip(0.4, 1.5)[..., None]
    seen = Image.fromarray(seen.clip(0, 255).astype(np.uint8))
    clutter(seen, int(rng.integers(0, 6)), 0.1 * min(w, h), rng)
    return expose(seen, rng)


def clipart(scene: Scene, shapes: list[Shape], rng: Rng) -> np.ndarray:
    """Float [h, w, 3]: flat colours with outlines, on one colour or a bold pattern of two shades of it."""
    w, h = rng.integers(64, 97, 2).tolist()
    paper, line = np.array(COLOURS[scene.ground]), float(rng.uniform(1.5, 4))
    shade, pale = rgb(paper * 0.7 + 60), rgb(paper * 0.4 + 150)
    picture = Image.new("RGB", (2 * w, 2 * h), shade)
    canvas = ImageDraw.Draw(picture)
    motif = rng.integers(4)
    if motif == 1:
        canvas.polygon(arc(w, h, 0.9 * min(w, h), 0.9 * min(w, h)).ravel().tolist(), pale)
    elif motif == 2:
        for turn in np.arange(0, 1, 1 / 8):
            canvas.polygon([w, h, *arc(w, h, 3 * w, 3 * h, turn, turn + 1 / 16, 2).ravel().tolist()], pale)
    elif motif == 3:
        for x, y in np.ndindex(2 * w // 24 + 1, 2 * h // 24 + 1):
            canvas.ellipse((24 * x, 24 * y, 24 * x + 12, 24 * y + 12), pale)
    # A designer's inks: what is dark or light in every photo may have any colour here, the outlines too.
    free = rng.permutation(list(COLOURS.values()))
    ink = tones(scene, rng, 5) | {"dark": rgb(free[0]), "light": rgb(free[1])}
    outline = rgb(free[2]) if rng.random() < 0.5 else DARK
    for shape in pose(shapes, scene.scale, 2 * w, 2 * h, rng):
        draw(canvas, shape, ink[shape.tone])
        if not shape.width:
            draw(canvas, Shape("dark", np.concatenate([shape.points, shape.points[:2]]), line), outline)
    return np.asarray(picture.reduce(2), np.float32)


def sketch(scene: Scene, shapes: list[Shape], rng: Rng) -> np.ndarray:
    """Float [h, w, 3]: unsteady strokes, each outline gone over twice; filled parts hide what lies behind them."""
    w, h = rng.integers(64, 97, 2).tolist()
    paper, ink = PAPERS[scene.ground]
    picture = Image.new("RGB", (2 * w, 2 * h), paper)
    canvas = ImageDraw.Draw(picture)
    rule = rgb((np.array(paper) * 3 + (90, 130, 200)) / 4)
    if "lined" in scene.ground or "squared" in scene.ground:
        for y in range(8, 2 * h, 14):
            canvas.line((0, y, 2 * w, y), rule)
    if "squared" in scene.ground:
        for x in range(8, 2 * w, 14):
            canvas.line((x, 0, x, 2 * h), rule)
    for shape in pose(shapes, scene.scale, 2 * w, 2 * h, rng):
        outline = shape.points
        if not shape.width:
            draw(canvas, shape, paper)
            outline = np.concatenate([outline, outline[:2]])
        for _ in range(2):
            wobble = rng.normal(0, 0.5, outline.shape) + rng.normal(0, 0.7, 2)
            draw(canvas, Shape("dark", outline + wobble, float(rng.uniform(1, 2.4))), ink)
    return np.asarray(picture.reduce(2), np.float32) + rng.standard_normal((h, w, 1), np.float32) * 4


DOMAINS = {"photo": photo, "clipart": clipart, "sketch": sketch}


# --- Splits. ---


@dataclass(frozen=True)
class DemoSplit:
    """What a split holds. The class of picture i is i modulo the classes, so that they are balanced."""

    name: str
    count: int
    classes: list[str]
    domain: str  # photo, clipart, sketch or texture


SPLITS = [
    DemoSplit("train", 4080, list(OBJECTS), "photo"),
    DemoSplit("val", 600, list(OBJECTS), "photo"),
    DemoSplit("clipart", 408, list(OBJECTS), "clipart"),
    DemoSplit("sketch", 408, list(OBJECTS), "sketch"),
    DemoSplit("leaves-train", 360, list(LEAVES), "photo"),
    DemoSplit("leaves-test", 300, list(LEAVES), "photo"),
    DemoSplit("textures-train", 480, [f"{name} texture" for name in PATTERNS], "texture"),
    DemoSplit("textures-test", 320, [f"{name} texture" for name in PATTERNS], "texture"),
]


def texture(name: str, rng: Rng) -> tuple[str, Callable[[], np.ndarray]]:
    """A pattern that fills the picture: its caption, and its pixels, float [h, w, 3], when called."""
    bright = sorted(COLOURS, key=lambda colour: -sum(COLOURS[colour]))
    one, two = rng.permutation([rng.choice(bright[:6]), rng.choice(bright[6:])]).tolist()

    def pixels() -> np.ndarray:
        w, h = rng.integers(64, 97, 2).tolist()
        low, high = np.array([COLOURS[one], COLOURS[two]]) + rng.normal(0, 20, (2, 3))
        field = pattern_field(name.split()[0], h, w, rng) + rng.uniform(0, 0.8) * (noise(rng, h, w, 9, 9) - 0.5)
        return expose(Image.fromarray((low + (high - low) * field[..., None]).clip(0, 255).astype(np.uint8)), rng)

    return f"a photo of {article(one)} and {two} {name}", pixels


def sample(split: DemoSplit, number: int, seed: int, i: int) -> tuple[str, Callable[[], np.ndarray]]:
    """Caption of sample i of the split, and its pixels, float [h, w, 3] in 0..255, when called."""
    rng = np.random.default_rng([seed, number, i])
    name = split.classes[i % len(split.classes)]
    if split.domain == "texture":
        return texture(name, rng)
    scene = describe(rng, split.domain, name)
    return scene.caption, lambda: DOMAINS[split.domain](scene, (OBJECTS | LEAVES)[name](rng), rng)


def read(number: int, seed: int, i: int) -> bytes:
    """The JPEG of sample i of split `number`."""
    _, pixels = sample(SPLITS[number], number, seed, i)
    out = io.BytesIO()
    Image.fromarray(pixels().clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return out.getvalue()


def demo_splits(seed: int = 0) -> list[SplitListing]:
    """The splits of the demo world of this seed; another seed is another world of the same classes."""
    return [
        SplitListing(
            name=split.name,
            keys=[f"{split.name}/{i:06d}.jpg" for i in range(split.count)],
            labels=np.arange(split.count) % len(split.classes),
            captions=[sample(split, number, seed, i)[0] for i in range(split.count)],
            classes=split.classes,
            class_names=split.classes,
            read=partial(read, number, seed),
            is_train=split.name == "train",
        )
        for number, split in enumerate(SPLITS)
    ]
