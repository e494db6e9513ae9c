"""TRL's own trainers, whole, on tiny chat models: what they learn from is what the data set and the reward say."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float64
from PIL import Image
from tiny_models import build_idefics3, build_llava
from transformers import AutoModelForImageTextToText, AutoProcessor

from rewards.base import Candidates, Reward
from rewards.cider import CiderD
from rlcap.data.base import CaptionDataset, Record
from rlcap.data.judged import Judged, Rating, comparisons_of
from rlcap.data.judgements import JUDGED
from rlcap.data.people import Utility
from rlcap.data.shapes import Shapes
from rlcap.data.simulated import SimulatedJudgements
from rlcap.errors import UserError
from rlcap.integrations.trl import PROMPT, preference_dataset, prompt_dataset, reward_function, text_of

# TRL sets transformers' own options by names that are on their way out.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")

ROOT = Path(__file__).parents[2]
BUILD = {"idefics3": build_idefics3, "llava": build_llava}


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    return Shapes(train=12, val=3, test=3, image_size=32)


@pytest.fixture(scope="module")
def judged(shapes: Shapes) -> SimulatedJudgements:
    return SimulatedJudgements(shapes, comparisons=20, held_out=4)


@pytest.fixture(scope="module", params=BUILD)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(BUILD[request.param](tmp_path_factory.mktemp(request.param)))


def settings(place: Path, **more: Any) -> dict[str, Any]:
    """Of a short run on the CPU."""
    fixed = {"report_to": [], "logging_steps": 1, "save_strategy": "no", "disable_tqdm": True, "use_cpu": True}
    return {"output_dir": str(place / "run"), "bf16": False, "max_steps": 2, "learning_rate": 1e-3, **fixed, **more}


class Opened(CaptionDataset):
    """A data set that notes which images it opens."""

    def __init__(self, within: CaptionDataset) -> None:
        self.within = within
        self.opened: list[str] = []

    def records(self, split: str) -> Any:
        return self.within.records(split)

    def open_image(self, record: Record) -> Image.Image:
        self.opened.append(record.image_id)
        return self.within.open_image(record)


# --- DPO


def test_every_comparison_is_a_row_whose_image_is_opened_when_read(judged: SimulatedJudgements) -> None:
    data = Opened(judged)
    table = preference_dataset(data, "train", prompt="What is this?")
    expected = [
        (record, own.captions[comparison.winner], own.captions[comparison.loser])
        for record in judged.records("train")
        for own in [record.metadata[JUDGED]]
        for comparison in comparisons_of(own, 0.5)
    ]
    assert len(table) == len(expected) > 10
    assert data.opened == []
    for row, (record, chosen, rejected) in zip(table, expected, strict=True):
        assert row["prompt"] == [{"role": "user", "content": "What is this?"}]
        assert row["chosen"] == [{"role": "assistant", "content": chosen}]
        assert row["rejected"] == [{"role": "assistant", "content": rejected}]
        assert [image.tobytes() for image in row["images"]] == [judged.open_image(record).tobytes()]


class Rated(CaptionDataset):
    def records(self, split: str) -> tuple[Record, ...]:
        own = Judged(("a", "b", "c"), ratings=(Rating(0, 1.0), Rating(1, 3.0), Rating(2, 1.4)))
        return (Record("x", ("a",), metadata={JUDGED: own}), Record("y", ("a",)))


def test_ratings_apart_by_the_margin_are_comparisons() -> None:
    def pairs(margin: float) -> list[tuple[str, str]]:
        table = preference_dataset(Rated(), "train", margin=margin).with_format(None)  # there are no images to open
        return [
            (chosen[0]["content"], rejected[0]["content"])
            for chosen, rejected in zip(table["chosen"], table["rejected"], strict=True)
        ]

    assert sorted(pairs(0.5)) == [("b", "a"), ("b", "c")]
    assert sorted(pairs(1.8)) == [("b", "a")]
    with pytest.raises(UserError, match="split 'train' compares no two captions"):
        pairs(3.0)
    with pytest.raises(UserError, match="margin must be above 0, got 0"):
        pairs(0.0)


def logprob(checkpoint: str, model: torch.nn.Module, image: Image.Image, caption: str) -> float:
    """Of a caption as the assistant's answer, in the words of the tiny models' chat template."""
    processor = AutoProcessor.from_pretrained(checkpoint)
    answer = f" {caption}\n"
    text = f"user: <image>{PROMPT}\nassistant:{answer}"
    given = processor(text=text, images=[image], return_tensors="pt", add_special_tokens=False)
    length = len(processor.tokenizer(answer, add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        logprobs = model(**given).logits[0, :-1].log_softmax(-1)  # of the next token
    return float(logprobs.gather(1, given["input_ids"][0, 1:, None])[-length:].sum())


def test_trl_learns_to_prefer_the_chosen_caption(checkpoint: str, judged: SimulatedJudgements, tmp_path: Path) -> None:
    """Its log-probabilities are those of a plain forward of each caption, within 1e-2 of some 250 nats."""
    from trl import DPOConfig, DPOTrainer

    table = preference_dataset(judged, "train").select([0])
    (row,) = table
    captions = [row[name][0]["content"] for name in ("chosen", "rejected")]
    start = AutoModelForImageTextToText.from_pretrained(checkpoint).eval()
    before = [logprob(checkpoint, start, row["images"][0], caption) for caption in captions]

    trainer = DPOTrainer(
        model=checkpoint,
        args=DPOConfig(**settings(tmp_path, max_steps=4, per_device_train_batch_size=1)),
        train_dataset=table,
    )
    trainer.train()
    first, *later = [entry for entry in trainer.state.log_history if "logps/chosen" in entry]
    assert first["loss"] == pytest.approx(np.log(2), rel=1e-6)
    assert [first["logps/chosen"], first["logps/rejected"]] == pytest.approx(before, abs=1e-2)
    assert later[-1]["rewards/margins"] > 0
    after = [logprob(checkpoint, trainer.model.eval(), row["images"][0], caption) for caption in captions]
    assert after[0] - after[1] > before[0] - before[1] + 1


# --- GRPO and RLOO


def test_a_lent_reward_is_the_reward(shapes: Shapes) -> None:
    reward = CiderD()
    lent = reward_function(reward, shapes)
    assert lent.__name__ == "CIDEr-D"
    rows = [row for row in prompt_dataset(shapes, "test") for _ in range(2)]
    columns = {name: [row[name] for row in rows] for name in rows[0] if name != "prompt"}
    captions = [references[turn] for turn, references in enumerate(columns["references"][:5])] + ["a star"]
    completions = [[{"role": "assistant", "content": f"{caption} "}] for caption in captions]
    scores = lent(prompts=[], completions=completions, completion_ids=[[5, 2]] * 6, trainer_state=None, **columns)
    expected = reward(Candidates(captions, references=columns["references"], image_ids=columns["image_id"]))
    assert scores == expected.tolist()
    assert max(scores) > 1 > min(scores)

    cut = reward_function(reward, eos_token_ids=[2])
    ids = [[5, 2], [5, 5], [2], [5], [7, 2], []]
    ended = [True, False, True, False, True, False]
    given = Candidates(captions, references=columns["references"], image_ids=columns["image_id"], ended=ended)
    assert cut(prompts=[], completions=completions, completion_ids=ids, **columns) == reward(given).tolist()

    truth = reward_function(Utility())(prompts=[], completions=captions, completion_ids=ids, **columns)
    assert truth == Utility()(Candidates(captions, metadata=columns["metadata"])).tolist()


def test_what_is_missing_is_told(shapes: Shapes) -> None:
    with pytest.raises(Exception, match="references"):
        reward_function(CiderD())  # which has seen none
    lent = reward_function(CiderD(), shapes)
    with pytest.raises(UserError, match="no column 'references', which the reward needs: make it by prompt_dataset"):
        lent(prompts=[], completions=["a star"], completion_ids=[[1]])
    with pytest.raises(UserError, match="no column 'images'"):
        reward_function(Letters())(prompts=[], completions=["a star"], completion_ids=[[1]], references=[["a"]])
    with pytest.raises(UserError, match="split 'val' has no images"):
        prompt_dataset(Shapes(train=2, val=0), "val")


def test_the_caption_is_the_text_of_the_last_message() -> None:
    assert text_of(" a star ") == "a star"
    assert text_of([{"role": "tool", "content": "x"}, {"role": "assistant", "content": "a star\n"}]) == "a star"
    parts = [{"type": "text", "text": "a star "}, {"type": "image"}, {"type": "text", "text": "here"}]
    assert text_of([{"role": "assistant", "content": parts}]) == "a star here"


class Letters(Reward):
    """Letters of the caption that the first reference has, and the mean of the image: of everything something."""

    needs_references = True
    needs_images = True

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        assert candidates.references is not None
        assert candidates.images is not None
        known = zip(candidates.captions, candidates.references, candidates.images, strict=True)
        return np.array([sum(c in own[0] for c in caption) + np.asarray(image).mean() for caption, own, image in known])


@pytest.mark.parametrize("kind", ["GRPO", "RLOO"])
def test_trl_learns_from_a_lent_reward(checkpoint: str, shapes: Shapes, tmp_path: Path, kind: str) -> None:
    """The mean that TRL logs is that of its completions by hand, within 1e-5: it keeps rewards in single precision."""
    import trl

    data = Opened(shapes)
    lent, called = reward_function(Letters()), []

    def noted(**given: Any) -> list[float]:
        called.append(given)
        return lent(**given)

    options = settings(tmp_path, per_device_train_batch_size=4, num_generations=4, max_completion_length=8)
    trainer = getattr(trl, f"{kind}Trainer")(
        model=checkpoint,
        args=getattr(trl, f"{kind}Config")(**options),
        train_dataset=prompt_dataset(data, "train"),
        reward_funcs=[noted],
    )
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    trainer.train()
    known = {record.image_id: record for record in shapes.records("train")}
    logged = [entry["rewards/noted/mean"] for entry in trainer.state.log_history if "rewards/noted/mean" in entry]
    assert len(logged) == len(called) == 2
    for mean, given in zip(logged, called, strict=True):
        assert len(given["image_id"]) == 4
        assert len(set(given["image_id"])) == 1
        record = known[given["image_id"][0]]
        brightness = np.asarray(shapes.open_image(record)).mean()
        letters = [sum(c in record.references[0] for c in said[0]["content"].strip()) for said in given["completions"]]
        assert len(set(letters)) > 1
        assert mean == pytest.approx(np.mean(letters) + brightness, rel=1e-5)
    assert len(data.opened) <= 4  # one of each step and one that a trainer looks at first, not one for each caption
    assert any(not torch.equal(old, new) for old, new in zip(before, trainer.model.parameters(), strict=True))


# --- the page


@pytest.fixture
def here(tmp_path: Path, shapes: Shapes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page names, in a user's folder; transformers takes a hub's name for a folder where there is one."""
    monkeypatch.chdir(tmp_path)
    build_idefics3(Path("HuggingFaceTB/SmolVLM-256M-Instruct"))
    Path("photos").mkdir()
    with Path("captions.csv").open("w", newline="") as captions, Path("judgements.jsonl").open("w") as judgements:
        table = csv.writer(captions)
        table.writerow(["image", "caption"])
        for record in shapes.records("train"):
            name = f"{record.image_id}.png"
            shapes.open_image(record).save(Path("photos", name))
            table.writerows([name, caption] for caption in dict.fromkeys(record.references))
            judgements.write(json.dumps({"image": name, "chosen": record.references[0], "rejected": "a cat"}) + "\n")
    return tmp_path


@pytest.mark.parametrize("kind", ["DPO", "GRPO"])
def test_the_code_of_the_page_runs(here: Path, kind: str) -> None:
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "trl.md").read_text(), re.DOTALL)
        if f"{kind}Trainer" in block
    ]
    short = 'max_steps=2, use_cpu=True, bf16=False, report_to=[], disable_tqdm=True, save_strategy="no"'
    assert code.count("num_train_epochs=1") == 1
    names: dict[str, Any] = {}
    exec(compile(code.replace("num_train_epochs=1", short), "trl.md", "exec"), names)
    assert names["trainer"].state.global_step == 2
    if kind == "DPO":
        assert (here / "runs" / "smolvlm_dpo" / "model.safetensors").is_file()
    else:
        assert {"rewards/CIDEr-D/mean", "rewards/Repetition/mean"} <= set(names["trainer"].state.log_history[0])
