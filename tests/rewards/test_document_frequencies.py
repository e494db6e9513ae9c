"""Document frequencies: hand-worked numbers, the plain dictionary they stand for, and the cache on disk."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rewards import document_frequencies
from rewards.base import RewardError
from rewards.document_frequencies import (
    DocumentFrequencies,
    cache_folder,
    coco_document_frequencies,
    training_document_frequencies,
)
from rewards.ngrams import END, count_ngrams

IMAGES = [["a dog runs", "the dog runs fast"], ["a cat", "a cat sleeps"], ["a dog sleeps"]]


def plain(text: str, end: bool = False) -> Counter[tuple[str, ...]]:
    """The n-grams of one text, counted plainly."""
    words = text.split() + [END] * end
    return Counter(tuple(words[i : i + n]) for n in range(1, 5) for i in range(len(words) - n + 1))


def fingerprint(words: tuple[str, ...]) -> np.uint64:
    """The fingerprint of one n-gram, END included."""
    counts = count_ngrams([" ".join(word for word in words if word != END)], [END in words])
    whole = counts.order == len(words) - 1
    assert whole.sum() == 1
    return np.uint64(counts.ngram[whole][0])


def test_document_frequencies_count_each_image_once() -> None:
    frequencies = DocumentFrequencies.from_references(IMAGES, eos=True, name="hand")
    expected = {("a",): 3, ("dog",): 2, ("cat",): 1, ("a", "dog"): 2, ("a", "dog", "runs"): 1, ("sleeps", END): 2}
    queries = np.array([fingerprint(words) for words in [*expected, ("bird",)]], np.uint64)
    assert frequencies.of(queries).tolist() == [*expected.values(), 0]
    assert frequencies.images == 3
    np.testing.assert_allclose(frequencies.inverse(queries)[[0, 1, 6]], [0, np.log(3 / 2), np.log(3)], rtol=1e-12)


def test_document_frequencies_of_many_ngrams_are_those_of_a_plain_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_frequencies, "IMAGES_AT_ONCE", 7)  # several parts
    rng = np.random.default_rng(0)
    images = [[" ".join(f"w{i}" for i in rng.zipf(1.5, 8) % 50) for _ in range(3)] for _ in range(40)]
    frequencies = DocumentFrequencies.from_references(images, eos=False, name="random", tokenized=True)
    expected = Counter(words for captions in images for words in set().union(*map(plain, captions)))
    assert frequencies.of(np.array([fingerprint(words) for words in expected])).tolist() == list(expected.values())
    assert len(frequencies.ngrams) == len(expected)


def test_no_references_have_no_document_frequencies() -> None:
    frequencies = DocumentFrequencies.from_references([], eos=False, name="none")
    assert frequencies.of(count_ngrams(["a dog"]).ngram).tolist() == [0, 0, 0]


def test_a_saved_file_is_read_back_and_leaves_nothing_aside(tmp_path: Path) -> None:
    frequencies = DocumentFrequencies.from_references(IMAGES, eos=True, name="hand")
    frequencies.save(tmp_path / "folder" / "hand.npz")
    loaded = DocumentFrequencies.load(tmp_path / "folder" / "hand.npz")
    assert (loaded.images, loaded.eos, loaded.name) == (3, True, "hand")
    np.testing.assert_array_equal(loaded.ngrams, frequencies.ngrams)
    np.testing.assert_array_equal(loaded.counts, frequencies.counts)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["hand.npz"]


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.95])
def test_a_damaged_file_is_named(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "hand.npz"
    DocumentFrequencies.from_references(IMAGES, eos=True, name="hand").save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    with pytest.raises(RewardError, match=r"hand\.npz is no whole file"):
        DocumentFrequencies.load(path)


def test_a_file_with_changed_bytes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "hand.npz"
    DocumentFrequencies.from_references(IMAGES, eos=True, name="hand").save(path)
    content = bytearray(path.read_bytes())
    content[120:160] = bytes(40)
    path.write_bytes(bytes(content))
    with pytest.raises(RewardError, match=r"hand\.npz is no whole file"):
        DocumentFrequencies.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"no document frequencies at .*none\.npz"):
        DocumentFrequencies.load(tmp_path / "none.npz")


def test_training_references_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = training_document_frequencies(IMAGES, True, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(DocumentFrequencies, "from_references", None)  # calling it would raise
        again = training_document_frequencies([tuple(captions) for captions in IMAGES], True, tmp_path)
    np.testing.assert_array_equal(first.ngrams, again.ngrams)
    assert first.name == again.name
    other = training_document_frequencies(IMAGES[:2], True, tmp_path)
    without = training_document_frequencies(IMAGES, False, tmp_path)
    assert len({first.name, other.name, without.name}) == 3


def test_a_change_of_what_counts_counts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = document_frequencies._COUNTED_BY
    assert {Path(file).name for file in sources} == {"tokenize.py", "ngrams.py", "document_frequencies.py"}
    names = [training_document_frequencies(IMAGES, True, tmp_path).name]
    for place, file in enumerate(sources):
        changed = tmp_path / Path(file).name
        changed.write_text(Path(file).read_text() + "# changed\n")
        with monkeypatch.context() as patch:
            patch.setattr(document_frequencies, "_COUNTED_BY", (*sources[:place], str(changed), *sources[place + 1 :]))
            names.append(training_document_frequencies(IMAGES, True, tmp_path).name)
    assert len(set(names)) == 4


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    name = training_document_frequencies(IMAGES, True, tmp_path).name
    (tmp_path / "document_frequencies" / f"{name}.npz").write_bytes(b"not a file of ours")
    with pytest.raises(RewardError, match=f"{name}.npz is no whole file .* delete it"):
        training_document_frequencies(IMAGES, True, tmp_path)


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLCAP_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("RLCAP_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "rlcap"


@pytest.mark.slow
def test_coco_document_frequencies_are_built_offline_and_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    frequencies = coco_document_frequencies("coco-val2014", False, tmp_path)
    assert frequencies.images == 40504
    a, dog, unseen = frequencies.of(np.array([fingerprint((word,)) for word in ("a", "dog", "unseenword")])).tolist()
    assert 39000 < a < 40504
    assert 1000 < dog < 3000
    assert unseen == 0
    monkeypatch.setattr(document_frequencies, "_coco_annotations", None)  # calling it would raise
    assert len(coco_document_frequencies("coco-val2014", False, tmp_path).ngrams) == len(frequencies.ngrams)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(RewardError, match="coco-train2014, coco-val2014"):
        coco_document_frequencies("coco-2017", False)


def test_coco_needs_pycocoevalcap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_frequencies, "find_spec", lambda name: None)
    with pytest.raises(RewardError, match="pip install pycocoevalcap"):
        coco_document_frequencies("coco-val2014", False, tmp_path)
