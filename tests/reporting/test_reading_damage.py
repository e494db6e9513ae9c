"""Files of run folders that are damaged, hostile or not there: each is named in one line, none ends a report."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlcap.reporting import ReportError
from rlcap.reporting.reading.runs import read_runs

TEST = "evaluation/test"
SCORES, CAPTIONS = f"{TEST}/scores.json", f"{TEST}/predictions.jsonl"
FILES = (
    "config.yaml",
    "environment.json",
    "metrics.jsonl",
    "timings.jsonl",
    SCORES,
    CAPTIONS,
)
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join(['*' + old] * 9)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A whole run of ten steps and three images; tests copy it."""
    folder = tmp_path_factory.mktemp("small") / "run"
    (folder / TEST).mkdir(parents=True)
    (folder / "config.yaml").write_text("training: {steps: 10, seed: 1}\npolicy: {init_args: {directory: runs/xe}}\n")
    (folder / "environment.json").write_text('{"device": "cpu"}')
    rows = [{"step": s, "epoch": 0, "images": 4 * s, "captions": 8 * s, "reward/a": s / 7} for s in range(1, 11)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"step": s, "time/step": 0.5, "time/rollout": 0.25, "memory/peak": 1000} for s in range(1, 11)]
    (folder / "timings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    score = {"value": 0.5, "signature": "CIDEr-D|v:1"}
    (folder / SCORES).write_text(json.dumps({"images": 3, "scores": {"CIDEr-D": score}}))
    predictions = [
        {"image_id": i, "caption": "a cat", "ended": True, "references": ["a b", "c"], "scores": {"CIDEr-D": 0.5}}
        | {"samples": ["a", "b"], "metadata": {"n": 1, "tags": ["x"], "deep": {"a": 1}, "mixed": ["a", 1], "nan": None}}
        for i in "123"
    ]
    (folder / CAPTIONS).write_text("".join(json.dumps(row) + "\n" for row in predictions))
    return folder


@pytest.fixture
def folder(small, tmp_path):
    return shutil.copytree(small, tmp_path / "run")


def read(folder, cache=None):
    return read_runs([folder], "test", cache).runs[0]


def test_the_whole_run_is_read(folder):
    run = read(folder)
    assert run.notes == ()
    prediction = run.evaluation.predictions["1"]
    assert (prediction.samples, prediction.ended) == (("a", "b"), True)
    assert prediction.metadata == {"n": 1, "tags": ["x"]}  # scalars and lists of texts alone
    assert run.timings["memory/peak"].values.tolist() == [1000] * 10
    assert run.training_seconds == 5


def line(**values):
    return json.dumps(values).encode() + b"\n"


DAMAGE = {
    "empty log": ("metrics.jsonl", b"", "metrics.jsonl holds no rows"),
    "no objects": ("metrics.jsonl", b"1\n[]\nnull\n", "metrics.jsonl: 3 lines (the first is 1) hold no JSON object"),
    "deep": ("timings.jsonl", b"[" * 10**6 + b"\n", "line 1 holds no JSON object"),
    "bytes": ("metrics.jsonl", b'{"step": 1, "a": "\xff"}\n', "line 1 holds no JSON object"),
    "utf-16": ("metrics.jsonl", '{"step": 1}\n'.encode("utf-16"), "no JSON object"),
    "zeros": ("metrics.jsonl", bytes(1000), "the last line (1) is half written"),
    "two at once": ("metrics.jsonl", b'{"step": 1}{"step": 2}\n', "line 1 holds no JSON object"),
    "text": ("metrics.jsonl", line(step=1, a="0.5", b=2), "1 values of a are not finite numbers"),
    "infinite": ("metrics.jsonl", b'{"step": 1, "a": Infinity, "b": 1e999}\n', "1 values of b are not finite numbers"),
    "huge": ("metrics.jsonl", b'{"step": 1, "a": ' + b"9" * 10_000 + b"}\n", "1 values of a are not finite numbers"),
    "steps": ("metrics.jsonl", line(step=-1) + line(step=0.5) + line(step=1e300), "3 rows name no step"),
    "keys": ("metrics.jsonl", line(step=1, **{"": 1, "k" * 10_000: 2}), "2 values were left out: their keys are empty"),
    "many keys": ("metrics.jsonl", line(step=1, **{str(k): k for k in range(3000)}), "beyond the first 2,000"),
    "many odd": ("metrics.jsonl", line(step=1, **{str(k): None for k in range(50)}), "40 further keys have values"),
    "times": ("timings.jsonl", line(step=1, **{"time/step": -1, "time/a": 1e300}), "2 values are no times"),
    "list": ("config.yaml", b"- 1\n- 2\n", "config.yaml holds no mapping"),
    "nothing": ("config.yaml", b"", "config.yaml holds no mapping"),
    "aliases": ("config.yaml", BOMB.encode(), "config.yaml is damaged"),
    "merges": ("config.yaml", MERGES.encode(), "config.yaml is damaged"),
    "loop": ("config.yaml", b"a: &a [*a]", "config.yaml is damaged"),
    "deep settings": ("config.yaml", b"a: " + b"[" * 10_000, "config.yaml is damaged"),
    "deep whole": ("config.yaml", b"a: " + b"[" * 100 + b"]" * 100, "config.yaml is damaged"),
    "tags": ("config.yaml", b'a: !!int ""', "config.yaml is damaged"),
    "times of day": ("config.yaml", b"a: !!timestamp x", "config.yaml is damaged"),
    "long": ("config.yaml", b"a: " + b"x" * 2**21, "config.yaml is larger than 1 MiB"),
    "deep scores": (SCORES, b'{"a":' * 10**5, "scores.json is damaged"),
    "signature": (SCORES, b'{"scores": {"B": {"value": 1}}}', "scores.json: B has no signature"),
    "value": (SCORES, b'{"scores": {"B": {"value": "1"}, "C": 7}}', "scores.json: C has no finite value"),
    "name": (SCORES, b'{"scores": {"": {"value": 1}}}', "a metric's name is empty or longer"),
    "references": (
        CAPTIONS,
        line(image_id="1", caption="a", references=["b", 3, None]) + line(image_id="2", caption="a", references="b"),
        "2 rows have references that are no text",
    ),
    "twice": (CAPTIONS, line(image_id=1, caption="a") + line(image_id="1", caption="b"), "1 rows repeat"),
    "no caption": (CAPTIONS, line(image_id=True, caption="a") + line(image_id="2"), "2 rows name no"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(folder, damage):
    name, content, note = DAMAGE[damage]
    (folder / name).write_bytes(content)
    notes = read(folder).notes
    assert [line for line in notes if note in line], notes
    assert all(line.startswith((name, "evaluation/test: scores.json speaks", "still running")) for line in notes)


def test_more_remarks_than_anyone_reads_are_counted(folder):
    (folder / SCORES).write_text(json.dumps({"scores": {str(metric): {} for metric in range(1000)}}))
    notes = read(folder).notes
    assert len(notes) == 51
    assert notes[-1] == "950 further remarks are not shown"


def test_a_byte_order_mark_and_windows_lines_are_no_damage(folder):
    for name in FILES:
        path = folder / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read(folder).notes == ()


def test_settings_of_any_type_are_text_lists_and_mappings(folder):
    (folder / "config.yaml").write_text(
        f"training: {{seed: 0x{'f' * 5000}, day: 2020-01-01, 7: .inf, set: !!set {{a, b}}, steps: 10}}\n"
        "same: &s {a: 1}\nagain: *s\n"
    )
    run = read(folder)
    assert run.notes == ()
    assert run.setting("training", "seed").startswith("0xffff")
    assert run.setting("training", "day") == "2020-01-01"
    assert run.setting("training", "7") == "inf"
    assert run.setting("again", "a") == "1"
    json.dumps(run.config)


def test_captions_are_kept_as_they_are_whatever_they_hold(folder):
    captions = ["x" * 10_000, "\u202eكلب\u2066 \x00\x1b", "\ud800", "", "a\nb\u2028c"]
    rows = [{"image_id": str(i), "caption": caption, "references": [caption]} for i, caption in enumerate(captions)]
    (folder / CAPTIONS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for _ in range(2):  # read, then remembered
        predictions = read(folder, folder.parent / "cache").evaluation.predictions.values()
        assert [p.caption for p in predictions] == captions
        assert [p.references for p in predictions] == [(caption,) for caption in captions]


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_is_named(folder, name):
    path = folder / name
    label = str(name)
    outside = folder.parent / "outside"
    shutil.copy(path, outside)
    path.unlink()
    path.symlink_to(outside)
    assert f"{label} is a link out of the run folder and was left out" in read(folder).notes
    path.unlink()
    path.symlink_to("nothing")
    assert f"{label} is a link to nothing" in read(folder).notes
    path.unlink()
    path.symlink_to(path.name)
    assert any(note.startswith(f"{label} cannot be read: ") for note in read(folder).notes)
    path.unlink()
    os.mkfifo(path)
    assert f"{label} cannot be read: it is no file" in read(folder).notes
    path.unlink()
    path.mkdir()
    assert f"{label} cannot be read: it is no file" in read(folder).notes
    path.rmdir()
    inside = path.with_name("inside" + path.suffix)
    shutil.copy(outside, inside)
    path.symlink_to(inside.name)
    assert read(folder).notes == ()


def test_a_split_that_is_no_folder_is_missing(folder):
    shutil.rmtree(folder / TEST)
    (folder / TEST).write_text("")
    assert read(folder).notes == ("evaluation/test is missing",)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs users")
def test_a_folder_without_permission_to_read(small):
    root = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    user = os.geteuid()
    try:
        root.chmod(0o755)
        run, closed = shutil.copytree(small, root / "run"), shutil.copytree(small, root / "closed")
        for name in (TEST, "metrics.jsonl"):
            (run / name).chmod(0o000)
        closed.chmod(0o000)
        if not user:
            os.seteuid(65534)  # everything is open to root
        reading = read_runs([run, closed], "test")
    finally:
        os.seteuid(user)
        for path in (closed, run / TEST):
            path.chmod(0o700)
        shutil.rmtree(root)
    assert "metrics.jsonl cannot be read: Permission denied" in reading.runs[0].notes
    assert "evaluation/test/predictions.jsonl cannot be read: Permission denied" in reading.runs[0].notes
    assert len(reading.left_out) == 1
    assert reading.left_out[0].startswith("closed holds nothing to report")


def check(folder, cache):
    """Everything a run can be asked, of it and of the one that is remembered."""
    try:
        run, again = read(folder, cache), read(folder, cache)
    except ReportError:
        return
    assert repr(again) == repr(run)  # arrays have no truth value, and NaN is not itself
    assert all("\n" not in note for note in run.notes)
    for series in (*run.curves.values(), *run.timings.values()):
        assert (np.diff(series.steps) > 0).all()
        assert np.isfinite(series.values).all()
    steps = np.array([0.0, 3.0, 1e6])
    for counted in (run.seconds_at(steps), run.count_at("images", steps), run.count_at("captions", steps)):
        assert counted is None or np.isfinite(counted).all()
    assert isinstance(run.kind + run.setting("training", "seed"), str)
    json.dumps([run.config, run.environment, [p.metadata for p in run.evaluation.predictions.values()]])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**400) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_content_of_a_file_ends_a_report(small, tmp_path, data):
    """Cut, overwritten anywhere with any bytes, or holding any JSON where other JSON is expected."""
    folder = tmp_path / "run"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(small, folder)
    for name in data.draw(st.sets(st.sampled_from(FILES), min_size=1), label="files"):
        content = (folder / name).read_bytes()
        start = data.draw(st.integers(0, len(content)), label="start")
        end = data.draw(st.integers(start, len(content)), label="end")
        kind = data.draw(st.sampled_from(("cut", "bytes", "text", "value")), label="damage")
        if kind == "value":
            rows = [json.loads(row) for row in content.splitlines()] if name.endswith(".jsonl") else [{}]
            row = data.draw(st.sampled_from(rows), label="row")
            keys = [*row, "scores", "statistics", "images", "training", "policy", "step"]
            row |= data.draw(st.dictionaries(st.sampled_from(keys), VALUES, max_size=3), label="values")
            changed = "".join(json.dumps(row) + "\n" for row in rows).encode()
        elif kind == "cut":
            changed = content[:start] + content[end:] if data.draw(st.booleans()) else content[:start]
        else:
            drawn = st.binary(max_size=30) if kind == "bytes" else st.text("{}[]:,&*!<>-\"'\n 01eE.x", max_size=30)
            new = data.draw(drawn, label="new")
            changed = content[:start] + (new if isinstance(new, bytes) else new.encode()) + content[end:]
        (folder / name).write_bytes(changed)
    check(folder, tmp_path / "cache")
