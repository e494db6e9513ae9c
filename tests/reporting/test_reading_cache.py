"""What was parsed is remembered, to the bit, until its file changes; what else lies in the cache does no harm."""

import json
import os
import shutil

import numpy as np
import pytest

from rlcap.reporting.reading.cache import Cache, pack_json, unpack_json
from rlcap.reporting.reading.files import Source
from rlcap.reporting.reading.runs import read_runs
from rlcap.reporting.reading.watching import watch_digest


def assert_same(one, other):
    assert (one.config, one.notes, one.evaluation) == (other.config, other.notes, other.evaluation)
    for curves, others in ((one.curves, other.curves), (one.timings, other.timings)):
        assert list(curves) == list(others)
        for key in curves:
            assert np.array_equal(curves[key].steps, others[key].steps)
            assert np.array_equal(curves[key].values, others[key].values)


def overwrite(path, old, new, touch=True):
    """Replace words by others of the same length in place; without a touch nothing else tells of it."""
    before = path.stat()
    content = path.read_bytes()
    assert old in content
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))
    times = before.st_atime_ns, before.st_mtime_ns
    os.utime(path, ns=(times[0] + touch, times[1] + touch))


@pytest.fixture
def folders(two_runs, tmp_path):
    return [shutil.copytree(folder, tmp_path / folder.name) for folder in two_runs]


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def kept(cache):
    return {path.name: path.stat().st_ino for path in cache.iterdir()}


def test_what_is_remembered_is_what_was_read(folders, cache):
    path = folders[0] / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | {"odd": "nan", "0/3": row["step"] / 3}) + "\n" for row in rows) + '{"st')
    anew = read_runs(folders, "test").runs
    first = read_runs(folders, "test", cache).runs
    files = kept(cache)
    second = read_runs(folders, "test", cache).runs
    for one, two, three in zip(anew, first, second, strict=True):
        assert_same(one, two)
        assert_same(one, three)
    assert len(second[0].notes) == 3  # they are remembered too
    assert kept(cache) == files  # nothing is written again
    assert len([name for name in files if name.startswith("references-")]) == 1  # both runs have the same
    held = [run.evaluation.predictions["shapes/0003"].references for run in second]
    assert held[0] is held[1]


@pytest.mark.parametrize(
    ("name", "old", "new", "seen"),
    [
        ("metrics.jsonl", b'"step": 10,', b'"step": 11,', lambda run: run.curves["reward/clip"].steps[0]),
        ("timings.jsonl", b'"step": 10,', b'"step": 11,', lambda run: run.timings["time/step"].steps[0]),
        ("config.yaml", b"width: 64", b"width: 65", lambda run: run.setting("policy", "init_args", "width")),
        (
            "evaluation/test/predictions.jsonl",
            b"there is",
            b"here was",
            lambda run: run.evaluation.predictions["shapes/0003"].references[2][:8],
        ),
    ],
    ids=["metrics", "timings", "config", "predictions"],
)
def test_a_file_is_parsed_again_once_it_changed(folders, cache, name, old, new, seen):
    def look():
        return seen(read_runs(folders, "test", cache).runs[0])

    before = look()
    overwrite(folders[0] / name, old, new, touch=False)
    assert look() == before  # proof that it was remembered: no sign of the change was left
    overwrite(folders[0] / name, new, new)
    assert look() != before


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: b"\x00" * len(content),
        lambda content: content[: len(content) // 2] + b"?" + content[len(content) // 2 + 1 :],
        lambda content: b'{"key": 1}',
    ],
    ids=["empty", "cut", "zeros", "changed", "foreign"],
)
def test_a_damaged_cache_is_ignored_and_written_again(folders, cache, damage):
    before = read_runs(folders, "test", cache).runs
    whole = {path: path.read_bytes() for path in cache.iterdir()}
    for path, content in whole.items():
        path.write_bytes(damage(content))
    for one, other in zip(before, read_runs(folders, "test", cache).runs, strict=True):
        assert_same(one, other)
    assert {path: path.read_bytes() for path in cache.iterdir()} == whole


def test_files_of_one_source_in_the_place_of_anothers_are_ignored(folders, cache):
    before = read_runs(folders, "test", cache).runs
    for kind in ("log", "predictions", "config"):
        first, *others = sorted(cache.glob(f"{kind}-*"))
        for other in others:
            shutil.copy(first, other)
    for one, other in zip(before, read_runs(folders, "test", cache).runs, strict=True):
        assert_same(one, other)


def test_only_what_was_asked_for_last_is_kept_and_strangers_are_left_alone(folders, cache):
    cache.mkdir()
    (cache / "notes.txt").write_text("mine")
    (cache / f"log-{'0' * 32}.npz").mkdir()
    read_runs(folders, "test", cache)
    both = kept(cache)
    read_runs(folders[:1], "test", cache)
    one = kept(cache)
    # config, two logs and predictions of the other run are gone; the references are those of both
    assert len(both) - len(one) == 4
    assert one.items() <= both.items()
    assert (cache / "notes.txt").read_text() == "mine"
    assert not list(cache.glob(".*"))


def test_a_cache_that_cannot_be_written_is_done_without(folders, cache):
    cache.write_text("a file")
    assert len(read_runs(folders, "test", cache).runs) == 2
    assert cache.read_text() == "a file"


def test_the_digest_changes_with_whatever_a_report_reads_and_with_nothing_else(folders):
    seen = [watch_digest(folders, "test")]
    assert watch_digest(folders, "test") == seen[0]
    (folders[0] / "checkpoints").mkdir()
    (folders[0] / "evaluation/val").mkdir()
    assert watch_digest(folders, "test") == seen[0]
    for name in ("metrics.jsonl", "timings.jsonl", "evaluation/test/predictions.jsonl"):
        with (folders[1] / name).open("a") as file:
            file.write("{}\n")
        seen.append(watch_digest(folders, "test"))
    overwrite(folders[0] / "config.yaml", b"width: 64", b"width: 65")
    seen.append(watch_digest(folders, "test"))
    (folders[0] / "environment.json").unlink()
    seen.append(watch_digest(folders, "test"))
    (folders[0] / "evaluation/test/images/new.jpg").write_bytes(b"")
    seen.append(watch_digest(folders, "test"))
    shutil.rmtree(folders[0])
    seen.append(watch_digest(folders, "test"))
    seen += [watch_digest(folders[:1], "test"), watch_digest(folders, "val")]
    assert len(set(seen)) == len(seen) == 10


def test_an_error_of_ours_is_not_taken_for_damage(folders, tmp_path):
    source = Source(folders[0], "config.yaml")
    cache = Cache(tmp_path / "cache")

    def wrong(content):
        raise TypeError("a mistake in the code")

    def remember(unpack):
        return cache.remembered(source, "config.json", lambda *_: "read", pack_json, unpack, [])

    assert remember(wrong) == remember(unpack_json) == "read"
    with pytest.raises(TypeError, match="a mistake in the code"):
        remember(wrong)
