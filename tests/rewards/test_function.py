"""Functions as rewards: of a batch, of one caption, async; what they may ask for, and errors that name them."""

import asyncio
import functools
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rewards.base import Candidates, RewardError, Signature
from rewards.composite import Term, WeightedSum
from rewards.failures import ScoringError
from rewards.function import FunctionReward

THREE = Candidates(["a dog", "a big cat", "men"], [["dog"], ["cat", "the cat"], ["two men"]], image_ids=["1", "2", "3"])


def test_a_function_gets_the_columns_it_names() -> None:
    def hits(captions: list[str], references: Sequence[Sequence[str]], image_ids: Sequence[str] = ()) -> list[float]:
        assert list(image_ids) == ["1", "2", "3"]
        return [
            float(any(set(c.split()) & set(r.split()) for r in own))
            for c, own in zip(captions, references, strict=True)
        ]

    reward = FunctionReward(hits)
    assert (reward.needs_references, reward.needs_images) == (True, False)
    assert reward(THREE).tolist() == [1, 1, 1]


def test_a_function_may_ask_for_every_column() -> None:
    def everything(
        captions: list[str],
        *,
        references: Sequence[Sequence[str]],
        images: Sequence[Image.Image],
        image_ids: Sequence[str],
        metadata: Sequence[Mapping[str, Any]],
        ended: Sequence[bool],
    ) -> list[float]:
        return [len(references[0]) + images[0].width + int(image_ids[0]) + metadata[0]["weight"] + ended[0]]

    reward = FunctionReward(everything)
    candidates = Candidates(["a dog"], [["x", "y"]], ["7"], [Image.new("RGB", (10, 10))], [True], [{"weight": 100}])
    assert (reward.needs_references, reward.needs_images) == (True, True)
    assert reward(candidates).tolist() == [120]


def test_a_column_with_a_default_may_be_absent() -> None:
    def optional(captions: list[str], ended: Sequence[bool] | None = None, power: float = 2.0) -> list[float]:
        return [power if ended is None else 0.0 for _ in captions]

    assert FunctionReward(optional)(THREE).tolist() == [2, 2, 2]


def test_a_column_without_a_default_may_not() -> None:
    def strict(captions: list[str], metadata: Sequence[Mapping[str, Any]]) -> list[float]:
        return []

    with pytest.raises(RewardError, match=r"takes metadata, and Candidates\.metadata is None"):
        FunctionReward(strict)(THREE)


def nothing() -> list[float]:
    return []


def stranger(captions: list[str], temperature: float) -> list[float]:
    return []


def keywords(**columns: Any) -> list[float]:
    return []


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (nothing, "takes no captions"),
        (keywords, "takes no captions"),
        (stranger, "'temperature' that captions cannot fill"),
    ],
)
def test_a_function_of_something_else_is_refused(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(RewardError, match=message):
        FunctionReward(function)


def test_a_function_by_its_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "LIMIT = 3\ndef brevity(captions):\n    return [float(len(c.split()) < LIMIT) for c in captions]\n"
    (tmp_path / "my_rewards_for_a_test.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    reward = FunctionReward("my_rewards_for_a_test.brevity")
    assert reward(THREE).tolist() == [1, 0, 1]
    assert reward.signature == Signature("FunctionReward", {"function": "my_rewards_for_a_test.brevity"})
    for path, message in [
        ("my_rewards_for_a_test.length", "has no attribute 'length'"),
        ("no_such_module_at_all.f", "No module named 'no_such_module_at_all'"),
        ("brevity", "is no import path"),
        ("my_rewards_for_a_test.LIMIT", "is a int"),
    ]:
        with pytest.raises(RewardError, match=message):
            FunctionReward(path)
    monkeypatch.delitem(sys.modules, "my_rewards_for_a_test")


def test_a_wrong_answer_of_a_function_names_the_function() -> None:
    def broken(captions: list[str]) -> list[float]:
        return [float("nan")] * len(captions)

    with pytest.raises(RewardError, match="broken gave nan for caption 'a dog'"):
        FunctionReward(broken)(THREE)


def test_a_function_of_one_caption_gets_its_own_columns() -> None:
    def one(caption: str, references: Sequence[str], image_id: str, metadata: object = None) -> int:
        assert metadata is None
        return len(caption) + 10 * len(references) + 100 * int(image_id)

    reward = FunctionReward(one)
    assert (reward.needs_references, reward.needs_images, reward.background) == (True, False, False)
    assert reward(THREE).tolist() == [115, 229, 313]


def test_a_function_of_one_caption_may_look_at_its_image() -> None:
    images = [Image.new("RGB", (width, 5)) for width in (3, 4, 5)]
    reward = FunctionReward(lambda caption, image: image.width)
    assert reward.needs_images
    assert reward(Candidates(THREE.captions, images=images)).tolist() == [3, 4, 5]
    with pytest.raises(RewardError, match=r"takes image, and Candidates.images is None"):
        reward(THREE)


def test_an_async_function_of_a_batch_runs_in_the_background() -> None:
    begun, go = threading.Event(), threading.Event()

    async def slow(captions: list[str], image_ids: Sequence[str]) -> list[int]:
        begun.set()
        await asyncio.to_thread(go.wait, 10)
        return [int(image) for image in image_ids]

    reward = FunctionReward(slow)
    assert reward.background
    pending = reward.begin(THREE)
    assert begun.wait(10)
    go.set()
    assert pending().tolist() == [1, 2, 3]


def test_async_calls_for_single_captions_run_together_up_to_a_limit() -> None:
    running: list[int] = [0]
    most: list[int] = [0]

    async def one(caption: str) -> int:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0.01)
        running[0] -= 1
        return int(caption)

    captions = Candidates([str(number) for number in range(20)])
    assert FunctionReward(one, together=4)(captions).tolist() == list(range(20))
    assert most == [4]


def test_an_async_function_without_an_answer_is_given_up() -> None:
    async def hangs(captions: list[str]) -> list[float]:
        await asyncio.sleep(60)
        return []

    began = time.monotonic()
    with pytest.raises(ScoringError, match=r"'slow' failed: TimeoutError: no answer within 0.05 seconds, for caption"):
        WeightedSum({"slow": Term(FunctionReward(hangs, timeout=0.05))})(Candidates(["a dog"]))
    assert time.monotonic() - began < 30


def test_what_an_async_function_raises_is_named() -> None:
    async def one(caption: str) -> float:
        if caption == "men":
            raise TimeoutError("no answer from the service")
        return 1.0

    with pytest.raises(
        ScoringError, match=r"'judge': .*one failed: TimeoutError: no answer from the service, for caption 'men'"
    ):
        WeightedSum({"judge": Term(FunctionReward(one))})(THREE)
    kept = WeightedSum({"judge": Term(FunctionReward(one), on_failure="zero")}).score(THREE)
    assert kept.terms["judge"].tolist() == [1, 1, 0]


def test_an_async_function_that_fails_for_one_caption_keeps_the_answers_for_others() -> None:
    asked: list[str] = []

    async def one(caption: str) -> float:
        asked.append(caption)
        await asyncio.sleep(0)
        if caption == "7":
            raise ConnectionError("broken off")
        return float(caption)

    captions = Candidates([str(number) for number in range(30)])
    scores = WeightedSum({"judge": Term(FunctionReward(one, together=4), on_failure="zero")}).score(captions)
    assert scores.terms["judge"].tolist() == [0.0 if number == 7 else number for number in range(30)]
    assert sorted(asked) == sorted(captions.captions)  # each once: a service may be paid by the call


def test_an_async_function_that_always_fails_is_not_asked_for_every_caption() -> None:
    asked: list[str] = []

    async def one(caption: str) -> float:
        asked.append(caption)
        await asyncio.sleep(0)
        raise ConnectionError("no service")

    scores = WeightedSum({"judge": Term(FunctionReward(one, together=4), on_failure="skip")}).score(
        Candidates(["a dog"] * 100)
    )
    assert scores.failed == {"judge": 1.0}
    assert len(asked) <= 3 + 4


def test_answers_that_came_before_the_timeout_are_kept() -> None:
    async def one(caption: str) -> float:
        if caption == "men":
            await asyncio.sleep(60)
        return 1.0

    reward = FunctionReward(one, timeout=1.0)
    assert WeightedSum({"x": Term(reward, on_failure="zero")})(THREE).tolist() == [1, 1, 0]
    with pytest.raises(ScoringError, match=r"TimeoutError: no answer within 1 seconds, for caption 'men'"):
        WeightedSum({"x": Term(reward)})(THREE)


@pytest.mark.parametrize(
    ("settings", "message"), [({"together": 0}, "together must"), ({"timeout": 0.0}, "timeout must")]
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RewardError, match=message):
        FunctionReward(nothing_but, **settings)


def nothing_but(captions: list[str]) -> list[float]:
    return [0.0 for _ in captions]


def test_a_function_of_one_caption_that_fails_for_some_keeps_the_others() -> None:
    calls: list[str] = []

    def one(caption: str) -> float:
        calls.append(caption)
        if caption == "men":
            raise KeyError("men")
        return 1.0

    assert WeightedSum({"own": Term(FunctionReward(one), on_failure="zero")}).score(THREE).total.tolist() == [1, 1, 0]
    assert calls == list(THREE.captions)  # each asked once
    with pytest.raises(
        ScoringError, match=r"'own': function .*one failed: KeyError: 'men', for caption 'men'"
    ) as error:
        WeightedSum({"own": Term(FunctionReward(one))})(THREE)
    assert isinstance(error.value.__cause__, KeyError)


def test_arguments_fill_other_parameters() -> None:
    def weighed(captions: list[str], factor: float, power: int = 1) -> list[float]:
        return [factor * len(caption) ** power for caption in captions]

    reward = FunctionReward(weighed, arguments={"factor": 2.0, "power": 2})
    assert reward(THREE).tolist() == [50, 162, 18]
    assert reward.signature.settings["factor"] == "2.0"
    assert FunctionReward(lambda caption, factor: factor * len(caption), arguments={"factor": 3})(THREE).tolist() == [
        *(15, 27, 9)
    ]
    with pytest.raises(RewardError, match=r"is given the argument 'faktor', which is none of its own .*factor, power"):
        FunctionReward(weighed, arguments={"faktor": 2.0})
    with pytest.raises(RewardError, match=r"has a parameter 'factor' that captions cannot fill.*under arguments"):
        FunctionReward(weighed)


def test_one_number_for_all_is_told_how_to_be_one_for_each() -> None:
    with pytest.raises(RewardError, match=r"gave the one number 1.0 for 3 captions.*name its first parameter caption"):
        FunctionReward(lambda text: 1.0)(THREE)


def test_a_partial_is_named_with_what_it_binds() -> None:
    def weighed(captions: list[str], factor: float) -> list[float]:
        return [factor * len(caption) for caption in captions]

    names = [FunctionReward(functools.partial(weighed, factor=factor)).signature for factor in (1.0, 2.0)]
    assert names[0] != names[1]
    assert names[0].settings["function"].endswith("weighed(factor=1.0)")
