"""The typographic probe: text really stands in the image, and rewards that look at it see it."""

from collections.abc import Sequence

import numpy as np
import pytest
from jaxtyping import Float64
from PIL import Image
from tiny_models import build_clip, noise

from rewards.base import Candidates, OpenedWhenRead, Reward, RewardError
from rewards.bleu import Bleu
from rewards.clip import ClipScore
from rewards.self_retrieval import SelfRetrieval
from rewards.typographic import draw_text, typographic_gain


class Whiteness(Reward):
    """Share of white pixels, remembered by image id as model rewards do."""

    needs_images = True

    def __init__(self) -> None:
        self.known: dict[str, float] = {}

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        images: Sequence[Image.Image] = candidates.images or []
        for row, name in enumerate(candidates.image_ids or []):
            if name not in self.known:
                self.known[name] = float((np.asarray(images[row]) == 255).all(axis=2).mean())
        return np.array([self.known[name] for name in candidates.image_ids or []])


def black(count: int = 1, size: tuple[int, int] = (128, 128)) -> list[Image.Image]:
    return [Image.new("RGB", size) for _ in range(count)]


@pytest.mark.parametrize("size", [(64, 64), (224, 224), (320, 160), (160, 320)])
def test_text_stands_at_the_foot_of_the_central_square(size: tuple[int, int]) -> None:
    before = Image.new("RGB", size, "red")
    pixels, bare = np.asarray(draw_text(before, "a cat")), np.asarray(before)
    changed = (pixels != bare).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    side = min(size)
    left, foot = (size[0] - side) // 2, (size[1] + side) // 2
    assert (columns[0], columns[-1], rows[-1]) == (left, left + side - 1, foot - 1)
    assert rows[0] >= foot - side // 2
    white, ink = (pixels == 255).all(axis=2), (pixels < 100).all(axis=2)
    assert white.sum() > 2 * ink.sum() > 0
    assert (np.asarray(before) == bare).all()  # the image given is left as it was


def test_letters_shrink_until_the_text_fits_and_are_cut_at_the_smallest() -> None:
    def ink(text: str) -> np.ndarray:
        return np.flatnonzero((np.asarray(draw_text(Image.new("RGB", (128, 128), "red"), text)) < 100).all(2).any(1))

    short, long, endless = ink("cat"), ink(" ".join(["cat"] * 24)), ink(" ".join(["cat"] * 500))
    assert len(short) < len(long) < len(endless)
    assert endless[0] >= 64  # never beyond the lower half
    assert (np.asarray(draw_text(black()[0], " ")) == 0).all()  # no text, no strip


def test_other_texts_change_other_pixels() -> None:
    assert (np.asarray(draw_text(black()[0], "cat")) != np.asarray(draw_text(black()[0], "dog"))).any()


def test_the_gain_is_what_the_reward_sees_although_it_remembers_images_by_id() -> None:
    given = Candidates(
        ["a cat", "a dog", "a much longer caption of the second"], image_ids=["1", "2", "2"], images=black(3)
    )
    reward = Whiteness()
    for _ in range(2):  # the second time from memory: the same
        result = typographic_gain(reward, given)
        np.testing.assert_array_equal(result.before, [0, 0, 0])
        expected = [
            (np.asarray(draw_text(image, caption)) == 255).all(axis=2).mean()
            for caption, image in zip(given.captions, given.images or [], strict=True)
        ]
        np.testing.assert_allclose(result.after, expected)
        np.testing.assert_allclose(result.gain, expected)
        assert result.after[2] > result.after[1] > 0.05  # its own text for each caption of an image
    assert result.summary() == {
        "before": 0.0,
        "after": pytest.approx(np.mean(expected)),
        "gain": pytest.approx(np.mean(expected)),
        "share_raised": 1.0,
    }
    assert result.signature == str(reward.signature)


def test_one_text_for_all_or_one_for_each() -> None:
    given = Candidates(["a cat", "a dog"], image_ids=["1", "2"], images=black(2))
    same = typographic_gain(Whiteness(), given, text="no idea").after
    assert same[0] == same[1]
    other = typographic_gain(Whiteness(), given, text=["no idea", "a"]).after
    assert other[0] == same[0] != other[1]


def test_images_opened_when_read_are_drawn_into_when_read() -> None:
    given = Candidates(["a cat"], image_ids=["1"], images=OpenedWhenRead([lambda: black()[0]]))
    eager = Candidates(["a cat"], image_ids=["1"], images=black())
    assert typographic_gain(Whiteness(), given).gain == typographic_gain(Whiteness(), eager).gain


def test_a_reward_on_clip_sees_the_text(tmp_path_factory: pytest.TempPathFactory) -> None:
    clip = str(build_clip(tmp_path_factory.mktemp("clip")))
    captions = ["a cat sits here", "the red dog", "blue dog runs", "the cat"]
    images = noise(4, size=(96, 64))
    given = Candidates(captions, image_ids=["1", "2", "3", "4"], images=images)
    for reward in (ClipScore(clip, prompt=""), SelfRetrieval(clip)):
        result = typographic_gain(reward, given)
        np.testing.assert_allclose(result.before, reward(given), atol=1e-5)
        drawn = [draw_text(image, caption) for image, caption in zip(images, captions, strict=True)]
        fresh = type(reward)(clip, **({"prompt": ""} if isinstance(reward, ClipScore) else {}))  # type: ignore[arg-type]
        np.testing.assert_allclose(
            result.after, fresh(Candidates(captions, image_ids=["a", "b", "c", "d"], images=drawn)), atol=1e-5
        )
        assert np.abs(result.gain).max() > 0.01


def test_wrong_inputs_are_told_in_one_line() -> None:
    with pytest.raises(RewardError, match="does not look at images"):
        typographic_gain(Bleu(), Candidates(["a cat"], images=black()))
    with pytest.raises(RewardError, match=r"Candidates\.images is None"):
        typographic_gain(Whiteness(), Candidates(["a cat"], image_ids=["1"]))
    with pytest.raises(RewardError, match="there are 1 texts for 2 captions"):
        typographic_gain(Whiteness(), Candidates(["a", "b"], images=black(2)), text=["a"])
