"""Synthetic scenes of coloured shapes: images, references that disagree as people do, and the truth beside them.

The set needs no download and has a known answer for every image, so a policy, a reward and a whole run can be tried in
minutes. An image shows one to three objects, mostly two, each with a shape, a colour and a size; any two of them that
stand clearly beside or above one another have a relation. References drop adjectives, use synonyms, and tell a
relation from either side.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from rlcap.data.base import CaptionDataset, Record, UnreadableImageError
from rlcap.types import UserError

# Canonical word first: synonyms are rarer.
SHAPES: Mapping[str, tuple[str, ...]] = {
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
}
SIZES: Mapping[str, tuple[str, ...]] = {"large": ("large", "big"), "small": ("small", "little")}
SYNONYMS: tuple[tuple[str, ...], ...] = (*SHAPES.values(), *SIZES.values())
RELATIONS: Mapping[str, tuple[str, ...]] = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
OPPOSITE: Mapping[str, str] = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
COLORS: Mapping[str, tuple[int, int, int]] = {
    "red": (214, 40, 46),
    "orange": (246, 140, 30),
    "yellow": (247, 212, 60),
    "green": (44, 150, 72),
    "blue": (40, 96, 205),
    "purple": (136, 62, 164),
}

OBJECT_COUNTS = (1, 2, 3)
OBJECT_COUNT_SHARES = (0.1, 0.8, 0.1)
RADIUS: Mapping[str, tuple[float, float]] = {"small": (0.105, 0.120), "large": (0.185, 0.205)}  # share of the side
# Objects stand near the points of a grid (shares of the side): a small network then tells shapes apart in minutes.
PLACES: Mapping[str, tuple[float, ...]] = {"small": (0.125, 0.375, 0.625, 0.875), "large": (0.25, 0.5, 0.75)}
JITTER = 0.02
CLEARLY = 1.6  # one object is left of another when its offset to the left is this many times the offset up or down
REFERENCES = 5
INCOMPLETE = 0.25  # of the mentions of an object, which lack its size, its colour or both
SYNONYM = 0.12  # of the words that have one
FLIPPED = 0.25  # of the relations, told from the other side than left to right or top to bottom
OPENED = 0.1  # of the references, with "there is"
VERB = 0.1  # of the others, with "is" before the relation
LISTED = 0.05  # of the references of several objects, without a relation
LISTED_OF_THREE = 0.3
SPLIT_SHARES: Mapping[str, float] = {"train": 0.75, "val": 0.1, "test": 0.15}  # of all possible scenes

Scene = dict[str, Any]


def scene_key(scene: Mapping[str, Any]) -> str:
    """All that a caption could say of a scene, as one string: its objects and relations, not where exactly they lie."""
    names = [f"{item['size']} {item['color']} {item['shape']}" for item in scene["objects"]]
    relations = sorted(f"{names[i]} {relation} {names[j]}" for i, relation, j in scene["relations"])
    return ", ".join(sorted(names) + relations)


def split_of(key: str, seed: int) -> str:
    """The one split in which a scene may occur."""
    digest = hashlib.blake2b(f"{seed} {key}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    for split, share in SPLIT_SHARES.items():
        if place < share:
            return split
        place -= share
    return "test"


def sample_scene(rng: np.random.Generator) -> Scene:
    """Objects that neither touch nor share both shape and colour, and every relation that is clearly true.

    Returns:
        ``objects``: a list of ``shape``, ``color``, ``size``, ``center`` (x, y) and ``radius`` (shares of the image's
        side; y grows downwards). ``relations``: ``[i, relation, j]`` for "object i is left of object j", with its
        opposite ``[j, "right of", i]`` beside it.
    """
    count = int(rng.choice(OBJECT_COUNTS, p=OBJECT_COUNT_SHARES))
    looks = rng.choice(len(SHAPES) * len(COLORS), size=count, replace=False).tolist()
    shapes, colors, sizes = list(SHAPES), list(COLORS), list(SIZES)
    while True:  # sizes are drawn again too: several large objects may leave no room
        objects = []
        for look in looks:
            size = sizes[int(rng.integers(len(sizes)))]
            radius = float(rng.uniform(*RADIUS[size]))
            near = rng.choice(PLACES[size], size=2) + rng.uniform(-JITTER, JITTER, size=2)
            center = [round(share, 4) for share in near.tolist()]
            shape, color = shapes[look % len(shapes)], colors[look // len(shapes)]
            objects.append({"shape": shape, "color": color, "size": size, "radius": radius, "center": center})
        relations = _relations(objects)
        if relations is not None:
            return {"objects": objects, "relations": relations}


def _relations(objects: Sequence[Mapping[str, Any]]) -> list[list[Any]] | None:
    """The clear relations of all pairs; None if a pair is too near, or if no object of several relates to another."""
    relations: list[list[Any]] = []
    for i, first in enumerate(objects):
        for j, second in enumerate(objects[i + 1 :], start=i + 1):
            right, down = (b - a for a, b in zip(first["center"], second["center"], strict=True))
            apart = 1.15 * (first["radius"] + second["radius"]) + 0.02
            if math.hypot(right, down) < apart:
                return None
            if abs(right) >= max(apart, CLEARLY * abs(down)):
                relation = "left of" if right > 0 else "right of"
            elif abs(down) >= max(apart, CLEARLY * abs(right)):
                relation = "above" if down > 0 else "below"
            else:
                continue
            relations += [[i, relation, j], [j, OPPOSITE[relation], i]]
    return relations if relations or len(objects) == 1 else None


def describe(scene: Mapping[str, Any], rng: np.random.Generator) -> str:
    """One true reference of a scene, as one of several people might write it."""
    objects: Sequence[Mapping[str, Any]] = scene["objects"]
    opening = "there is " if rng.random() < OPENED else ""
    if len(objects) == 1:
        return opening + _noun_phrase(objects[0], rng)
    if rng.random() < (LISTED if len(objects) == 2 else LISTED_OF_THREE):
        phrases = [_noun_phrase(objects[int(i)], rng) for i in rng.permutation(len(objects))]
        return opening + " and ".join(phrases)
    forward = [relation for relation in scene["relations"] if relation[1] in ("left of", "above")]
    i, relation, j = forward[int(rng.integers(len(forward)))]
    if rng.random() < FLIPPED:
        i, relation, j = j, OPPOSITE[relation], i
    verb = "is " if not opening and rng.random() < VERB else ""
    first, second = _noun_phrase(objects[i], rng), _noun_phrase(objects[j], rng)
    return f"{opening}{first} {verb}{_word(RELATIONS[relation], rng)} {second}"


def _noun_phrase(item: Mapping[str, Any], rng: np.random.Generator) -> str:
    words = [_word(SIZES[item["size"]], rng), item["color"], _word(SHAPES[item["shape"]], rng)]
    if rng.random() < INCOMPLETE:
        words = [words[1:], words[::2], words[2:]][int(rng.integers(3))]
    return " ".join(["an" if words[0][0] in "aeiou" else "a", *words])


def _word(synonyms: Sequence[str], rng: np.random.Generator) -> str:
    if len(synonyms) > 1 and rng.random() < SYNONYM:
        return synonyms[1 + int(rng.integers(len(synonyms) - 1))]
    return synonyms[0]


def render(scene: Mapping[str, Any], image_size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The scene's picture [image_size, image_size, 3]: antialiased shapes on a light, slightly grainy ground."""
    ground = rng.uniform(226, 246) + rng.uniform(-5, 5, size=3)  # a tint of its own
    grain = 4.0 * rng.standard_normal((image_size, image_size, 1), dtype=np.float32)
    image = Image.fromarray((ground.astype(np.float32) + grain).clip(0, 255).astype(np.uint8))
    for item in scene["objects"]:
        color = np.clip(np.array(COLORS[item["color"]]) + rng.uniform(-10, 10, size=3), 0, 255).astype(int).tolist()
        mask, corner = _mask(item["shape"], item["center"], item["radius"], image_size)
        image.paste(tuple(color), corner, mask)
    return np.asarray(image)


def _mask(
    shape: str, center: Sequence[float], radius: float, image_size: int, finer: int = 4
) -> tuple[Image.Image, tuple[int, int]]:
    """How much of each pixel around a shape it covers, and the upper left corner of those pixels in the image."""
    x, y, radius = center[0] * image_size, center[1] * image_size, radius * image_size
    reach = math.ceil(1.25 * radius) + 1
    left, top = math.floor(x) - reach, math.floor(y) - reach
    fine = Image.new("L", ((2 * reach + 1) * finer, (2 * reach + 1) * finer))
    draw = ImageDraw.Draw(fine)
    x, y, radius = (x - left) * finer, (y - top) * finer, radius * finer
    if shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    else:
        draw.polygon([(x + radius * across, y + radius * down) for across, down in _OUTLINES[shape]], fill=255)
    return fine.reduce(finer), (left, top)


def _ring(radii: Sequence[float], lower: float = 0.0) -> list[tuple[float, float]]:
    """Corners at these distances from the centre, at equal angles from the top."""
    turn = 2 * math.pi / len(radii)
    return [(r * math.sin(k * turn), lower - r * math.cos(k * turn)) for k, r in enumerate(radii)]


_OUTLINES: Mapping[str, list[tuple[float, float]]] = {
    "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    "triangle": _ring([1.2] * 3, lower=0.2),
    "star": _ring([1.25, 0.52] * 5, lower=0.05),
}


def _metadata(scene: Scene) -> dict[str, Any]:
    shapes, colors = (sorted({item[key] for item in scene["objects"]}) for key in ("shape", "color"))
    return {"scene": scene, "categories": shapes, "colors": colors}


class Shapes(CaptionDataset):
    """Scenes of coloured shapes, made from a seed.

    A scene, as far as a caption can tell, occurs in one split only, so a high test score means that the policy looks
    at the image. Image k of a split does not depend on how many there are: a smaller set is the beginning of a larger.
    ``Record.metadata["scene"]`` is what :func:`sample_scene` returns; ``categories`` are its shapes, ``colors`` its
    colours. A split is drawn once, when its records are first
    asked for; a pickled copy carries no pictures and draws them again.
    """

    synonyms = SYNONYMS

    def __init__(self, train: int = 4000, val: int = 300, test: int = 500, seed: int = 0, image_size: int = 64) -> None:
        if min(train, val, test) < 0:
            raise UserError(f"a split cannot have fewer than 0 images, got train {train}, val {val}, test {test}")
        if seed < 0:
            raise UserError(f"seed must be 0 or more, got {seed}")
        if image_size < 32:
            raise UserError(f"image_size must be at least 32 for shapes to be told apart, got {image_size}")
        self.lengths = {"train": train, "val": val, "test": test}
        self.seed = seed
        self.image_size = image_size
        self._records: dict[str, tuple[Record, ...]] = {}
        self._pixels: dict[str, NDArray[np.uint8]] = {}

    def records(self, split: str) -> Sequence[Record]:
        """The images of a split; their references and scene graphs."""
        if split not in self.lengths:
            raise UserError(f"no split {split!r} in Shapes; there are {', '.join(self.lengths)}")
        if split not in self._records:
            self._draw(split)
        return self._records[split]

    def open_image(self, record: Record) -> Image.Image:
        """The picture of a scene."""
        split, _, index = record.image_id.rpartition("-")
        if split not in self.lengths or not index.isdecimal() or int(index) >= len(self.records(split)):
            raise UnreadableImageError(f"no image {record.image_id!r} in Shapes")
        return Image.fromarray(self._pixels[split][int(index)])

    def _draw(self, split: str) -> None:
        """Draws all at once, so that worker processes forked later share the pictures."""
        length = self.lengths[split]
        pixels = np.empty((length, self.image_size, self.image_size, 3), dtype=np.uint8)
        records = []
        for index in range(length):
            rng = np.random.default_rng([self.seed, list(SPLIT_SHARES).index(split), index])
            scene = sample_scene(rng)
            while split_of(scene_key(scene), self.seed) != split:
                scene = sample_scene(rng)
            references = tuple(describe(scene, rng) for _ in range(REFERENCES))
            pixels[index] = render(scene, self.image_size, rng)
            records.append(Record(f"{split}-{index:05d}", references, metadata=_metadata(scene)))
        self._records[split], self._pixels[split] = tuple(records), pixels

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_records": {}, "_pixels": {}}
