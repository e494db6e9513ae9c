"""A learned reward: what reward models trained earlier think of captions, alone or as an ensemble."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rewards.base import Candidates, Reward, RewardError, Signature
from rewards.networks.pretrained import Kept, distinct_images, fingerprint
from rlcap.functional.preferences import lower_confidence, uncertainty_weighted
from rlcap.policies.images import ImageProcessor
from rlcap.reward_models.base import RewardModel, load_reward_model
from rlcap.types import Batch, Captions, Encoded

Lowered = Callable[[Tensor, float], Tensor]
PENALTIES: Mapping[str, Lowered] = {"deviation": lower_confidence, "variance": uncertainty_weighted}

States = tuple[Tensor, ...]
"""What each model makes of an image, without its captions: regions times width."""

IMAGES_AT_ONCE = 16  # batches of images whose states are held at a time, beside those that are remembered

Pair = tuple[int, str]
"""The place of an image among those of a call, and a caption of it."""


class LearnedReward(Reward):
    """The reward of reward models: their scores less that of reference captions on average, so that people's have 0.

    Of several models it is the mean; where they disagree it may be lowered, so that captions are not drawn to where
    nobody judged (Coste et al. 2024). Images are encoded once per image id, which stands for one image as long as the
    reward lives, and kept between calls; equal captions of an image are scored once. Models compute in float32.

    Args:
        directories: of the models: run folders, checkpoints or saved models. Several are an ensemble.
        disagreement: what the models' disagreement is multiplied by before it is taken off.
        measure: of that disagreement: the standard ``deviation`` over the models, which is in the reward's own unit,
            or their ``variance``, as in UWO of Coste et al. 2024.
        probability: the sigmoid of each model's score in place of its reward: that the caption is right, of models that
            learned to tell right captions from wrong ones.
        max_length: longer captions are cut, in tokens.
        batch_size: how many images or captions run together.
        remembered_images: how many images' encodings are kept between calls, in main memory: 2 kB each of a CLIP
            ViT-B/32, 600 kB of a captioner with a ViT-B/16.
    """

    def __init__(
        self,
        directories: str | list[str],
        disagreement: float = 0.0,
        measure: Literal["deviation", "variance"] = "deviation",
        probability: bool = False,
        max_length: int = 64,
        batch_size: int = 64,
        remembered_images: int = 2048,
    ) -> None:
        places = [directories] if isinstance(directories, str) else list(directories)
        if not places:
            raise RewardError("a learned reward has no models: give the directory of at least one")
        if not np.isfinite(disagreement) or disagreement < 0:
            raise RewardError(f"disagreement lowers the reward: give 0 or more, got {disagreement}")
        if disagreement and len(places) == 1:
            raise RewardError(
                f"one model cannot disagree with itself: give several, or leave disagreement {disagreement} out"
            )
        if max_length < 3 or batch_size < 1:
            raise RewardError(f"max_length must be 3 or more and batch_size 1, got {max_length} and {batch_size}")
        self.models = [load_reward_model(place).eval().requires_grad_(False) for place in places]
        self.needs_images = any(model.needs_images for model in self.models)
        self.needs_references = any(model.needs_references for model in self.models)
        self.disagreement = disagreement
        self.measure = measure
        self.probability = probability
        self.max_length = max_length
        self.batch_size = batch_size
        self.device = torch.device("cpu")
        self._called = "+".join(_called(place, model) for place, model in zip(places, self.models, strict=True))
        self._states: Kept[Hashable, States] = Kept(remembered_images)
        self._alone = Lock()  # what is remembered, and fast tokenizers, bear one thread at a time

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: all but the lock."""
        return {name: value for name, value in self.__dict__.items() if name != "_alone"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take it over, with a lock of its own."""
        self.__dict__ |= state
        self._alone = Lock()

    def to(self, device: str) -> None:
        self.device = torch.device(device)
        for model in self.models:
            model.to(self.device)

    @property
    def signature(self) -> Signature:
        settings = {"models": self._called, "max_length": str(self.max_length)}
        if self.probability:
            settings["probability"] = "yes"
        if self.disagreement:
            settings["disagreement"] = f"{self.disagreement}*{self.measure}"
        return Signature(type(self).__name__, settings)

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """The models' mean reward of each caption, lowered by their disagreement."""
        if not len(candidates):
            return np.zeros(0)
        members = torch.from_numpy(self.members(candidates))
        lowered: Float64[np.ndarray, " captions"] = PENALTIES[self.measure](members, self.disagreement).numpy()
        return lowered

    def members(self, candidates: Candidates) -> Float64[np.ndarray, "models captions"]:
        """Each model's reward of each caption."""
        if not len(candidates):
            return np.zeros((len(self.models), 0))
        keys, lasting = self._keys(candidates)
        rows: dict[Hashable, int] = {}
        for row, key in enumerate(keys):
            rows.setdefault(key, row)
        images = {key: place for place, key in enumerate(rows)}
        every = [(images[key], caption) for key, caption in zip(keys, candidates.captions, strict=True)]
        pairs = {pair: place for place, pair in enumerate(dict.fromkeys(every))}
        by_image: list[list[Pair]] = [[] for _ in rows]
        for pair in pairs:
            by_image[pair[0]].append(pair)
        of_pairs = np.zeros((len(self.models), len(pairs)))
        at_once = IMAGES_AT_ONCE * self.batch_size
        with self._judging(), self._alone:
            for start in range(0, len(rows), at_once):  # not all images' states are held at a time
                own = [pair for image in by_image[start : start + at_once] for pair in image]
                states = self._see(candidates, dict(islice(rows.items(), start, start + at_once)), lasting)
                asked = [(image - start, caption) for image, caption in own]
                for number, model in enumerate(self.models):
                    scores = self._score(model, [each[number] for each in states], asked)
                    of_pairs[number, [pairs[pair] for pair in own]] = scores.double().cpu().numpy()
        return of_pairs[:, [pairs[pair] for pair in every]]

    def _see(self, candidates: Candidates, rows: Mapping[Hashable, int], lasting: bool) -> list[States]:
        """What the models make of some images, remembered or made now, given a row of each."""
        firsts = list(rows.values())

        def make(places: list[int]) -> list[States]:
            return list(self._encode(candidates, [firsts[place] for place in places]))

        return self._states(list(rows), make) if lasting else make(list(range(len(firsts))))

    # --- images

    def _keys(self, candidates: Candidates) -> tuple[list[Hashable], bool]:
        """What tells apart the images of captions, and their references where these count; whether they last."""
        none = [None] * len(candidates)
        images: Sequence[Hashable] = none
        if self.needs_images:
            _, places = distinct_images(candidates)
            images = places.tolist() if candidates.image_ids is None else candidates.image_ids
        references: Sequence[Hashable] = candidates.reference_tuples() if self.needs_references else none
        lasting = candidates.image_ids is not None or not self.needs_images
        return list(zip(images, references, strict=True)), lasting

    def _encode(self, candidates: Candidates, rows: Sequence[int]) -> Iterator[States]:
        """What the models make of the images of some captions, a few at a time."""
        for start in range(0, len(rows), self.batch_size):
            chosen = rows[start : start + self.batch_size]
            given, opened = candidates.references, candidates.images
            batch = Batch(
                image_ids=tuple(
                    str(row if candidates.image_ids is None else candidates.image_ids[row]) for row in chosen
                ),
                references=tuple(() if given is None else tuple(given[row]) for row in chosen),
                images=tuple(opened[row] for row in chosen) if self.needs_images and opened is not None else None,
            )
            encoded = [self._encode_by(model, batch) for model in self.models]
            yield from zip(*encoded, strict=True)

    def _encode_by(self, model: RewardModel, batch: Batch) -> list[Tensor]:
        """What a model makes of each image, in main memory."""
        if model.needs_images:
            assert batch.images is not None
            batch = replace(batch, pixel_values=model.process_images(batch.images).to(self.device))
        return [states.clone() for states in model.encode(batch).states.cpu()]  # a view would keep the whole batch

    # --- captions

    def _score(self, model: RewardModel, states: Sequence[Tensor], pairs: Sequence[Pair]) -> Float[Tensor, " pairs"]:
        """A model's reward of each pair, a few at a time; images with equally many regions run together."""
        scores = torch.zeros(len(pairs), device=self.device)
        order = sorted(range(len(pairs)), key=lambda number: len(states[pairs[number][0]]))
        for _, group in groupby(order, key=lambda number: len(states[pairs[number][0]])):
            numbers = list(group)
            for start in range(0, len(numbers), self.batch_size):
                chosen = numbers[start : start + self.batch_size]
                images = {image: place for place, image in enumerate(dict.fromkeys(pairs[each][0] for each in chosen))}
                seen = Encoded(torch.stack([states[image] for image in images]).to(self.device))
                encoded = seen.select(torch.tensor([images[pairs[each][0]] for each in chosen], device=self.device))
                captions = model.read([pairs[each][1] for each in chosen], self.max_length).to(self.device)
                scores[chosen] = self._judge(model, encoded, captions)
        return scores

    def _judge(self, model: RewardModel, encoded: Encoded, captions: Captions) -> Float[Tensor, " captions"]:
        return model.score(encoded, captions).sigmoid() if self.probability else model.reward(encoded, captions)

    @contextmanager
    def _judging(self) -> Iterator[None]:
        """Without gradients, and in float32 whatever the policy's precision: scores are the same in any run."""
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            yield


def _called(directory: str, model: RewardModel) -> str:
    """What a model is called in signatures: the same on every machine."""
    process = model.process_images
    settings = process.settings if isinstance(process, ImageProcessor) else {}
    return f"{Path(directory).resolve().name}@{fingerprint(model, {**settings, 'class': type(model).__name__})}"
