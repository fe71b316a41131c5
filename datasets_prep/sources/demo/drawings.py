"""What the demo set shows: objects and leaves as shapes in unit coordinates, and patterns as functions of a plane.

A drawing function takes the generator that varies its proportions. scenes.py paints what it returns.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image

TAU = 2 * np.pi
Rng = np.random.Generator


# --- Shapes: float [n, 2] points in unit coordinates; x to the right, y down; an object fills about [-1, 1]. ---


class Shape(NamedTuple):
    """One part of an object. `tone` is main, second, dark or light; `width` > 0 makes it a line, else it is filled."""

    tone: str
    points: np.ndarray
    width: float = 0.0


def poly(*flat: float) -> np.ndarray:
    """Points from x0, y0, x1, y1, ..."""
    return np.array(flat, float).reshape(-1, 2)


def arc(x: float, y: float, rx: float, ry: float, start: float = 0.0, stop: float = 1.0, n: int = 24) -> np.ndarray:
    """Points on an ellipse, from `start` to `stop` turns; turn 0 is to the right, 1/4 below, 1/2 left, 3/4 above."""
    turn = TAU * np.linspace(start, stop, n)
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], 1)


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return poly(x0, y0, x1, y0, x1, y1, x0, y1)


def dot(x: float, y: float, r: float) -> np.ndarray:
    return arc(x, y, r, r, n=14)


def smooth(points: np.ndarray, steps: int = 5) -> np.ndarray:
    """A closed Catmull-Rom curve through the points."""
    a, b, c, d = (np.roll(points, shift, 0)[:, None] for shift in (1, 0, -1, -2))
    t = np.arange(steps)[:, None] / steps
    return (b + t * ((c - a) + t * (2 * a - 5 * b + 4 * c - d + t * (3 * b - a - 3 * c + d))) / 2).reshape(-1, 2)


def tube(line: np.ndarray, start: float, stop: float | None = None) -> np.ndarray:
    """The outline of a thick line with round ends; its half width runs from `start` to `stop`."""
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    side = np.stack([along[:, 1], -along[:, 0]], 1) * np.linspace(start, stop or start, len(line))[:, None]
    cap = np.linspace(0, np.pi, 6)[1:-1, None]
    end = line[-1] + side[-1] * np.cos(cap) + along[-1] * np.linalg.norm(side[-1]) * np.sin(cap)
    begin = line[0] - side[0] * np.cos(cap) - along[0] * np.linalg.norm(side[0]) * np.sin(cap)
    return np.concatenate([line + side, end, (line - side)[::-1], begin])


def mirrored(points: np.ndarray) -> np.ndarray:
    return points * (-1, 1)


# --- Objects: each drawing function lists its shapes from back to front. ---


def sailing_boat(rng: Rng) -> list[Shape]:
    top, bow, deck = rng.uniform(-1, -0.7), rng.uniform(0.75, 0.95), rng.uniform(0.3, 0.45)
    return [
        Shape("dark", box(-0.04, top - 0.08, 0.04, deck)),
        Shape("second", poly(0.08, top, rng.uniform(0.6, 0.8), deck - 0.12, 0.08, deck - 0.12)),
        Shape("light", poly(-0.08, top + 0.2, -rng.uniform(0.5, 0.7), deck - 0.12, -0.08, deck - 0.12)),
        Shape("main", poly(-0.9, deck, bow, deck - 0.03, 0.55, 0.9, -0.6, 0.9)),
        Shape("second", poly(-0.8, deck + 0.15, bow - 0.12, deck + 0.13), 0.06),
    ]


def cactus(rng: Rng) -> list[Shape]:
    wide, top = rng.uniform(0.17, 0.24), rng.uniform(-0.9, -0.7)
    shapes = [Shape("main", tube(poly(0, 0.6, 0, top), wide))]
    for side in (-1, 1):
        y, tip = rng.uniform(-0.35, 0.2), rng.uniform(0.2, 0.4)
        arm = np.concatenate([poly(0.15, y + 0.2), arc(0.4, y, 0.2, 0.2, 0.25, 0, 6), poly(0.6, y - tip)])
        shapes.append(Shape("main", tube(arm * (side, 1), wide * 0.6)))
    shapes += [Shape("light", poly(x, top + 0.1, x, 0.4), 0.03) for x in (-0.08, 0.08)]
    pot = [poly(-0.45, 0.5, 0.45, 0.5, 0.32, 1, -0.32, 1), box(-0.52, 0.42, 0.52, 0.58)]
    return shapes + [Shape("second", points) for points in pot]


def mushroom(rng: Rng) -> list[Shape]:
    wide, foot, brim, high = rng.uniform((0.7, 0.22, -0.1, 0.65), (0.95, 0.4, 0.15, 0.85))
    stem = poly(-0.18, brim, 0.18, brim, foot * 0.8, 0.6, foot, 0.95, -foot, 0.95, -foot * 0.8, 0.6)
    cap = np.concatenate([arc(0, brim, wide, high, 0.5, 1, 16), arc(0, brim, wide, 0.14, 0, 0.5, 10)])
    spots = [(-0.45, -0.2, 0.12), (0.05, -0.45, 0.15), (0.5, -0.15, 0.11), (0.05, -0.05, 0.09)][: rng.integers(2, 5)]
    spots = [Shape("second", dot(x * wide, y + brim, r)) for x, y, r in spots]
    return [Shape("light", smooth(stem)), Shape("main", cap), *spots]


def teapot(rng: Rng) -> list[Shape]:
    rx, ry, grip, lid = rng.uniform((0.5, 0.42, 0.28, 0.16), (0.6, 0.55, 0.38, 0.28))
    spout = poly(0.35, 0.45, 0.7, 0.25, 0.78, -0.1, 1.0, -0.3, 0.88, -0.38, 0.62, -0.15, 0.52, 0.05, 0.3, 0.1)
    return [
        Shape("main", tube(arc(-rx - 0.02, 0.12, 0.36, grip, 0.2, 0.8, 12), 0.075)),
        Shape("main", smooth(spout)),
        Shape("main", arc(0, 0.2, rx, ry)),
        Shape("second", arc(0, 0.2 - ry * 0.8, rx * 0.62, lid, 0.5, 1, 12)),
        Shape("dark", dot(0, -0.08 - ry, 0.1)),
        Shape("second", poly(-rx * 0.9, 0.3, -rx * 0.3, 0.38, rx * 0.3, 0.38, rx * 0.9, 0.3), 0.07),
        Shape("dark", box(-0.3, 0.2 + ry * 0.9, 0.3, 0.27 + ry)),
    ]


def umbrella(rng: Rng) -> list[Shape]:
    wide, high, gores, side = rng.uniform(0.8, 0.98), rng.uniform(0.6, 0.8), rng.integers(4, 7), rng.choice([-1, 1])
    hook = arc(side * 0.16, 0.78, 0.16, 0.16, (1 + side) / 4, (1 - side) / 4, 8)
    shapes = [Shape("dark", np.concatenate([poly(0, -0.1, 0, 0.7), hook]), 0.09)]
    shapes += [Shape("dark", poly(0, -high, 0, -high - 0.2), 0.07)]
    brim, down = wide * np.cos(np.linspace(np.pi, 0, gores + 1)), np.linspace(0, np.pi / 2, 7)
    ribs = [np.stack([x * np.sin(down), -high * np.cos(down)], 1) for x in brim]
    for k, (left, right) in enumerate(pairwise(ribs)):
        gore = np.concatenate([left, (left[-1:] + right[-1:]) / 2 - (0, 0.09), right[::-1]])
        shapes.append(Shape("second" if k % 2 else "main", gore))
    return shapes


def fish(rng: Rng) -> list[Shape]:
    high, tail, back, belly = rng.uniform((0.33, 0.35, 0.15, 0.1), (0.5, 0.5, 0.3, 0.25))
    body = poly(0.9, 0, 0.5, -high * 0.85, 0, -high, -0.5, -0.12, -0.55, 0.1, 0, high, 0.5, high * 0.8)
    bars = [poly(x, -high * 0.6, x - 0.08, 0, x, high * 0.6) for x in (0.3, 0.05, -0.15)][: rng.integers(1, 4)]
    return [
        Shape("second", smooth(poly(-0.42, 0, -0.95, -tail, -0.8, 0, -0.95, tail))),
        Shape("second", poly(0.35, -high * 0.8, -0.05, -high - back, -0.3, -high * 0.6)),
        Shape("second", poly(0.2, high * 0.8, -0.1, high + belly, -0.2, high * 0.7)),
        Shape("main", smooth(body)),
        *(Shape("second", bar, 0.06) for bar in bars),
        Shape("light", dot(0.6, -0.1, 0.11)),
        Shape("dark", dot(0.62, -0.1, 0.055)),
    ]


def house(rng: Rng) -> list[Shape]:
    wide, eaves, ridge, gable = rng.uniform((0.55, -0.2, -0.95, 0), (0.75, 0, -0.7, 0.3))
    x = wide * 0.45 * rng.choice([-1, 1])
    windows = [(-x, 0.4), (-x, 0.08), (x, 0.08)][: rng.integers(1, 4)]
    return [
        Shape("dark", box(0.3, ridge + 0.05, 0.48, eaves)),
        Shape("main", box(-wide, eaves, wide, 0.9)),
        Shape("second", poly(-wide - 0.18, eaves + 0.05, -gable, ridge, 0.1, ridge, wide + 0.18, eaves + 0.05)),
        Shape("dark", box(x - 0.14, 0.4, x + 0.14, 0.9)),
        *(Shape("light", box(u - 0.14, v, u + 0.14, v + 0.22)) for u, v in windows),
    ]


def key(rng: Rng) -> list[Shape]:
    r, thick, bite = rng.uniform((0.28, 0.08, 0.2), (0.38, 0.12, 0.35))
    ring = np.concatenate([dot(0, -0.6, r), dot(0, -0.6, r - 2 * thick)[::-1]])  # with a hole in it
    teeth = [(0.85, 0.38), (0.62, bite), (0.38, 0.28)][: rng.integers(2, 4)]
    return [
        *(Shape("main", box(0, y - 0.08, x, y + 0.08)) for y, x in teeth),
        Shape("main", tube(poly(0, r - 0.62, 0, 0.9), thick * 0.85)),
        Shape("main", ring),
        Shape("second", poly(-0.16, r - 0.55, 0.16, r - 0.55), 0.1),
    ]


def snail(rng: Rng) -> list[Shape]:
    r, lift, turns = rng.uniform((0.45, 0.3, 2), (0.58, 0.5, 2.8))
    t = np.linspace(0.08, 1, 36)[:, None]
    spiral = (-0.15, 0.1) + 0.92 * r * t * np.concatenate([np.cos(TAU * turns * t), np.sin(TAU * turns * t)], 1)
    foot = poly(0.85, 0.5, 0.6, 0.74, 0, 0.78, -1, 0.72, -0.4, 0.45, 0.35, 0.4)
    head = poly(0.55, 0.2 - lift, 0.75, -lift, 0.95, 0.2 - lift)
    return [
        *(Shape("dark", poly(x, 0.15 - lift, x + dx, -lift - 0.35), 0.05) for x, dx in ((0.7, -0.08), (0.82, 0.14))),
        Shape("second", smooth(np.concatenate([foot, head]))),
        Shape("main", arc(-0.15, 0.1, r, r)),
        Shape("dark", spiral, 0.06),
    ]


def butterfly(rng: Rng) -> list[Shape]:
    x, y, low = rng.uniform((0.75, 0.65, 0.5), (0.98, 0.9, 0.75))
    half = [
        Shape("second", smooth(poly(0.05, 0.05, 0.45, 0.05, low + 0.08, 0.35, low * 0.8, 0.8, 0.3, 0.6))),
        Shape("main", smooth(poly(0.05, -0.05, 0.3, -y * 0.8, x * 0.85, -y, x, -y * 0.6, 0.7, -0.05, 0.3, 0.12))),
        Shape("light", dot(x * 0.72, -y * 0.62, 0.13)),
        Shape("dark", poly(0.02, -0.4, 0.1, -0.7, 0.25, -0.9), 0.04),
    ]
    other = [shape._replace(points=mirrored(shape.points)) for shape in half]
    return [*half, *other, Shape("dark", tube(poly(0, -0.4, 0, 0.55), 0.09, 0.05))]


def rocket(rng: Rng) -> list[Shape]:
    wide, fin, flame = rng.uniform((0.24, 0.5, 0.9), (0.34, 0.7, 1.05))
    side = poly(wide * 0.7, -0.6, wide, -0.1, wide * 0.8, 0.55)
    wing = poly(wide * 0.8, 0.1, fin, 0.45, fin, 0.8, wide * 0.6, 0.55)
    return [
        Shape("light", smooth(poly(-0.15, 0.55, 0.15, 0.55, 0.1, 0.8, 0, flame, -0.1, 0.8))),
        Shape("second", wing),
        Shape("second", mirrored(wing)),
        Shape("main", smooth(np.concatenate([poly(0, -1), side, mirrored(side)[::-1]]))),
        Shape("light", dot(0, -0.25, wide * 0.55)),
        Shape("dark", dot(0, -0.25, wide * 0.35)),
        Shape("second", poly(-wide * 0.75, 0.38, wide * 0.75, 0.38), 0.09),
    ]


def guitar(rng: Rng) -> list[Shape]:
    hip, chest, waist = rng.uniform((0.42, 0.32, 0.2), (0.54, 0.4, 0.28))
    half = poly(chest * 0.6, -0.13, chest, 0.1, waist, 0.3, hip, 0.65, hip * 0.6, 0.97)
    return [
        Shape("main", smooth(np.concatenate([half, mirrored(half)[::-1]]))),
        Shape("second", box(-0.07, -0.8, 0.07, 0.3)),
        Shape("dark", poly(-0.13, -1, 0.13, -1, 0.1, -0.74, -0.1, -0.74)),
        Shape("dark", dot(0, 0.3, 0.15)),
        Shape("dark", poly(-0.2, 0.72, 0.2, 0.72), 0.09),
        *(Shape("light", poly(x, -0.78, x, 0.72), 0.02) for x in (-0.04, 0.04)),
    ]


OBJECTS: dict[str, Callable[[Rng], list[Shape]]] = {
    "sailing boat": sailing_boat,
    "cactus": cactus,
    "mushroom": mushroom,
    "teapot": teapot,
    "umbrella": umbrella,
    "fish": fish,
    "house": house,
    "key": key,
    "snail": snail,
    "butterfly": butterfly,
    "rocket": rocket,
    "guitar": guitar,
}


# --- Leaves, the downstream set: a blade is a half width along the midrib, mirrored. ---


def blade(wide: float, profile: Callable[[np.ndarray], np.ndarray]) -> list[Shape]:
    """A leaf of half width `wide * profile(t)`, t from 0 at the tip to 1 at the stalk, with its veins."""
    t = np.linspace(0, 1, 50)
    half = np.stack([wide * profile(t), 1.6 * t - 0.95], 1)
    veins = [Shape("dark", poly(0, y, s * x * 0.75, y - 0.18), 0.025) for x, y in half[7:-4:7] for s in (-1, 1)]
    return [
        Shape("second", poly(0, 0.6, 0.05, 1), 0.07),
        Shape("main", np.concatenate([half, mirrored(half)[::-1]])),
        *veins,
        Shape("dark", poly(0, -0.85, 0, 0.65), 0.04),
    ]


def maple(rng: Rng) -> list[Shape]:
    tips = poly(0, -0.95, 0.85, -0.45, 0.7, 0.4) * rng.uniform(0.85, 1.05, (3, 1))
    dents = poly(0.24, -0.4, 0.34, 0.0, 0.12, 0.45)
    half = np.stack([tips, tips * 0.7 + (0.12, 0.08), dents], 1).reshape(-1, 2)
    return [
        Shape("second", poly(0, 0.3, 0.05, 1), 0.07),
        Shape("main", np.concatenate([half, mirrored(half)[::-1]])),
        *(Shape("dark", poly(0, 0.4, s * x * 0.8, y * 0.8), 0.035) for x, y in tips for s in (-1, 1)),
    ]


def ginkgo(rng: Rng) -> list[Shape]:
    notch, spread = rng.uniform((0.25, 0.15), (0.5, 0.2))
    turn = TAU * np.linspace(-spread, spread, 31)[:, None]
    reach = 1.25 - notch * np.exp(-((turn / 0.08) ** 2)) + 0.03 * np.sin(40 * turn)
    rim = (0, 0.45) + reach * np.concatenate([np.sin(turn), -np.cos(turn)], 1)
    return [
        Shape("second", poly(0, 0.4, 0.08, 1), 0.07),
        Shape("main", np.concatenate([poly(0, 0.5), rim])),
        *(Shape("dark", poly(0, 0.45, *(rim[k] * 0.85)), 0.02) for k in range(3, 31, 4)),
    ]


def fern(rng: Rng) -> list[Shape]:
    wide, pairs = rng.uniform(0.45, 0.6), rng.integers(6, 9)
    tips = [(wide * (0.25 + 0.75 * t), 1.6 * t - 0.95) for t in np.linspace(0.1, 0.95, pairs)]
    half = [tube(poly(0, y, x * 0.5, y - 0.06, x, y - 0.16), 0.085, 0.03) for x, y in tips]
    leaflets = [Shape("main", leaflet) for one in half for leaflet in (one, mirrored(one))]
    return [*leaflets, Shape("second", poly(0, -0.95, 0, 1), 0.07)]


LEAVES: dict[str, Callable[[Rng], list[Shape]]] = {
    "willow leaf": lambda rng: blade(rng.uniform(0.15, 0.24), lambda t: np.sin(np.pi * t**0.8)),
    "birch leaf": lambda rng: blade(rng.uniform(0.45, 0.6), lambda t: np.sin(np.pi * t**1.5) * (1 + 9 * t % 1 / 6)),
    "oak leaf": lambda rng: blade(rng.uniform(0.4, 0.6), lambda t: np.sin(np.pi * t) * (0.7 - 0.3 * np.cos(26 * t))),
    "maple leaf": maple,
    "ginkgo leaf": ginkgo,
    "fern leaf": fern,
}


# --- Patterns: float [h, w] values in 0..1 over coordinates u, v (float [h, w], one unit a repeat). ---


def bricks(u: np.ndarray, v: np.ndarray, rng: Rng) -> np.ndarray:
    row = np.floor(2 * v)
    stone = np.floor(u + row / 2)
    mortar = ((u + row / 2) % 1 < 0.1) | (2 * v % 1 < 0.2)
    return np.where(mortar, 0, 0.8 + 0.2 * np.sin(12.9 * stone + 78.2 * row))


def scales(u: np.ndarray, v: np.ndarray, rng: Rng) -> np.ndarray:
    row = np.floor(2 * v)
    x, y = (u + row / 2) % 1 - 0.5, 2 * v % 1
    return np.clip(np.where(np.hypot(x, y * 0.5) < 0.5, 1 - np.hypot(x, y * 0.5) * 1.6, 0.2), 0, 1)


def woven(u: np.ndarray, v: np.ndarray, rng: Rng) -> np.ndarray:
    over = (np.floor(2 * u) + np.floor(2 * v)) % 2 < 1
    return np.where(over, np.abs(np.sin(TAU * v)), 0.65 * np.abs(np.sin(TAU * u)))


def cracked(u: np.ndarray, v: np.ndarray, rng: Rng) -> np.ndarray:
    seeds = np.stack([rng.uniform(a.min(), a.max(), 24) for a in (u, v)])[:, :, None, None]
    near = np.sort(np.hypot(u - seeds[0], v - seeds[1]).astype(np.float32), axis=0)
    return np.clip((near[1] - near[0]) * 4, 0, 1)


def noise(rng: Rng, h: int, w: int, across: int, down: int) -> np.ndarray:
    """Smooth noise, float32 [h, w] in 0..1, of about `across` x `down` blobs."""
    grain = Image.fromarray(rng.random((down, across), np.float32))
    return np.clip(np.asarray(grain.resize((w, h), Image.Resampling.BICUBIC)), 0, 1)


PATTERNS: dict[str, Callable[[np.ndarray, np.ndarray, Rng], np.ndarray]] = {
    "striped": lambda u, v, rng: np.clip(0.5 + 2 * np.sin(TAU * u), 0, 1),
    "chequered": lambda u, v, rng: np.clip(0.5 + 5 * np.sin(TAU * u) * np.sin(TAU * v), 0, 1),
    "dotted": lambda u, v, rng: np.clip(9 * (0.33 - np.hypot(u % 1 - 0.5, v % 1 - 0.5)), 0, 1),
    "zigzag": lambda u, v, rng: np.clip(0.5 + 2 * np.sin(TAU * (v + np.abs(u % 1 - 0.5))), 0, 1),
    "bricked": bricks,
    "scaly": scales,
    "woven": woven,
    "cracked": cracked,
}
