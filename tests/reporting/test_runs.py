import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from rlcap.reporting import ReportError
from rlcap.reporting.reading.runs import Evaluation, Run, Series, read_runs, run_names


def read(folder, split="test"):
    return read_runs([folder], split).runs[0]


@pytest.fixture
def run_folder(two_runs, tmp_path):
    return shutil.copytree(two_runs[0], tmp_path / "run")


def test_a_whole_run_has_no_notes(two_runs):
    before, after = read_runs(two_runs, "test").runs
    assert (before.name, after.name) == ("cross-entropy", "self-critical")
    assert before.notes == after.notes == ()
    assert before.setting("algorithm", "class_path").endswith("TeacherForcing")
    assert before.setting("training", "seed") == "1"
    assert before.setting("algorithm") == before.setting("no", "such") == ""
    assert len(before.curves["reward/cider_d"].steps) == 120
    assert list(before.curves["val/CIDEr-D"].steps) == [200, 400, 600, 800, 1000, 1200]
    assert len(before.timings["time/step"].steps) == 120
    assert len(before.evaluation.predictions) == before.evaluation.images == 60
    assert before.evaluation.thumbnail("shapes/0003").is_file()


def test_a_half_written_last_line_is_left_out_and_named(run_folder):
    for path in (run_folder / "metrics.jsonl", run_folder / "evaluation/test/predictions.jsonl"):
        path.write_bytes(path.read_bytes()[:-30])
    run = read(run_folder)
    assert len(run.evaluation.predictions) == 59
    assert "metrics.jsonl: the last line (126) is half written and was left out" in run.notes
    assert "evaluation/test/predictions.jsonl: the last line (60) is half written and was left out" in run.notes
    assert "evaluation/test: scores.json speaks of 60 images, predictions.jsonl holds 59" in run.notes


def test_damage_in_the_middle_is_counted(run_folder):
    path = run_folder / "timings.jsonl"
    path.write_bytes(b"\xff\xfe\n[1]\n" + b"[" * 100_000 + b"\n" + path.read_bytes())
    assert read(run_folder).notes == ("timings.jsonl: 3 lines (the first is 1) hold no JSON object and were left out",)


@pytest.mark.parametrize(
    "name", ["config.yaml", "environment.json", "metrics.jsonl", "timings.jsonl", "evaluation/test"]
)
def test_each_missing_part_is_named(run_folder, name):
    path = run_folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert read(run_folder).notes == (f"{name} is missing",)


@pytest.mark.parametrize("content", ["a: [", "!!python/object/apply:os.getcwd []", "\x00", "- 1", '"text"'])
def test_a_damaged_configuration_is_named_and_never_run(run_folder, content):
    (run_folder / "config.yaml").write_text(content)
    run = read(run_folder)
    assert run.config == {}
    assert len(run.notes) == 1
    assert run.notes[0].startswith("config.yaml ")


def test_resumed_steps_take_the_later_value_and_odd_values_are_counted(tmp_path):
    rows = [
        {"step": 20, "reward/a": 2.0},
        {"step": 10, "reward/a": 1.0, "epoch": 1},
        {"step": 10, "val/b": 5.0, "epoch": 1},
        {"step": 20, "reward/a": 3.0},
        {"step": 30, "reward/a": float("nan")},
        {"step": 40, "reward/a": "high"},
        {"step": 50, "reward/a": True},
        {"step": 60, "reward/a": 10**400},
        {"reward/a": 1.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    run = read(tmp_path)
    assert np.array_equal(run.curves["reward/a"].steps, [10, 20])
    assert np.array_equal(run.curves["reward/a"].values, [1, 3])
    assert "metrics.jsonl: 1 rows name no step and were left out" in run.notes
    assert "metrics.jsonl: 1 steps were logged more than once (a resumed run?); the later is shown" in run.notes
    assert "metrics.jsonl: 4 values of reward/a are not finite numbers" in run.notes


def test_odd_predictions_are_left_out_and_named(tmp_path):
    rows = [
        {"image_id": 7, "caption": "a cat", "references": "no list", "scores": {"CIDEr-D": float("inf")}},
        {"image_id": "7", "caption": "a dog"},
        {"image_id": "8"},
        {"caption": "of nothing"},
        {"image_id": ["9"], "caption": "a list"},
    ]
    folder = tmp_path / "evaluation" / "val"
    folder.mkdir(parents=True)
    (folder / "predictions.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (folder / "scores.json").write_text('{"scores": {"CIDEr-D": {"value": NaN}, "BLEU-4": 3}, "images": 1e400}')
    run = read(tmp_path, "val")
    (prediction,) = run.evaluation.predictions.values()
    assert (prediction.caption, prediction.references, prediction.scores) == ("a cat", (), {})
    assert run.evaluation.scores == {}
    label = "evaluation/val/predictions.jsonl"
    assert f"{label}: 3 rows name no image or no caption and were left out" in run.notes
    assert f"{label}: 1 rows repeat an image; its first caption is kept" in run.notes
    assert "evaluation/val/scores.json: CIDEr-D has no finite value" in run.notes


def test_thumbnails_stay_in_their_folder(two_runs):
    evaluation = read(two_runs[0]).evaluation
    for image_id in ("../../secret", "..", "/etc/passwd", "a\\b", "\ud800"):
        assert evaluation.thumbnail(image_id).parent == evaluation.folder / "images"


def test_clashing_names_get_their_parents(tmp_path):
    folders = [tmp_path / "a" / "x" / "run", tmp_path / "b" / "x" / "run", tmp_path / "c" / "other"]
    assert run_names(folders) == ("a/x/run", "b/x/run", "other")


def test_folders_without_a_run_are_refused_in_one_line(tmp_path, two_runs):
    with pytest.raises(ReportError, match="at least one run folder"):
        read_runs([], "test")
    with pytest.raises(ReportError, match="there is no such directory"):
        read(tmp_path / "nowhere")
    with pytest.raises(ReportError, match="given more than once"):
        read_runs([two_runs[0], two_runs[0] / "."], "test")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "metrics.jsonl").write_text("\n")
    with pytest.raises(ReportError, match=r"^[^\n]*empty holds nothing to report[^\n]*evaluation/test$"):
        read(tmp_path / "empty")
    (tmp_path / "bare").mkdir()
    with pytest.raises(ReportError, match=r"bare holds nothing to report.*, nor do the other 1$"):
        read_runs([tmp_path / "bare", tmp_path / "empty"], "test")


def test_a_folder_without_a_run_beside_others_is_left_out_and_named(tmp_path, two_runs):
    (tmp_path / "empty").mkdir()
    reading = read_runs([two_runs[0], tmp_path / "empty", two_runs[1]], "test")
    assert [run.name for run in reading.runs] == ["cross-entropy", "self-critical"]
    assert [run.folder for run in reading.runs] == list(two_runs)
    (line,) = reading.left_out
    assert line.startswith("empty holds nothing to report: no rows in metrics.jsonl")


def a_run(curves=None, timings=None, config=None):
    evaluation = Evaluation(Path("test"), None, None, "", {}, {}, {})
    series = [
        {
            key: Series(np.array(steps, dtype=float), np.array(values, dtype=float))
            for key, (steps, values) in (logged or {}).items()
        }
        for logged in (curves, timings)
    ]
    return Run("run", config or {}, {}, *series, evaluation, ())


def test_training_seconds_by_hand():
    """Steps 1-10 took 2 s each, 11-30 took 1 s each: 40 s in 30 steps, a mean that later steps are taken to keep."""
    run = a_run({"step": ([45], [45])}, {"time/step": ([10, 30], [2, 1])})
    assert run.seconds_at(np.array([0.0, 1, 5, 10, 12, 30, 45])).tolist() == [0, 2, 10, 20, 22, 40, 60]
    assert run.training_seconds == 60
    assert a_run().seconds_at(np.array([1.0])) is None
    assert a_run().training_seconds is None


def test_counts_by_hand():
    run = a_run({"images": ([0, 10, 20], [0, 320, 480]), "captions": ([10, 20], [1600, 3200])})
    steps = np.array([0.0, 5, 15, 20, 30])
    assert run.count_at("images", steps).tolist() == [0, 160, 400, 480, 720]
    assert run.count_at("captions", steps).tolist() == [0, 800, 2400, 3200, 4800]
    assert a_run().count_at("images", steps) is None


def test_a_run_that_has_not_taken_its_steps_says_so(run_folder):
    path = run_folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    for training, finished in (({"steps": 1200}, True), ({"steps": 1201}, False), ({"steps": "many"}, True)):
        path.write_text(yaml.safe_dump({**config, "training": training}))
        run = read(run_folder)
        assert run.finished is finished
        assert run.notes == (() if finished else ("still running or stopped: step 1200 of 1201",))
    guarded = {**config, "training": {"steps": 5000, "guard": {"class_path": "rlcap.training.guard.Stop"}}}
    path.write_text(yaml.safe_dump(guarded))
    assert read(run_folder).finished  # the test split is measured at the end
    path.write_text(yaml.safe_dump({**guarded, "evaluation": {"validation": "test"}}))
    assert not read(run_folder).finished  # the validation split all along


def test_a_reward_model_beside_policies(tmp_path, two_runs):
    """Its rows are judged captions, several of an image; without a configuration its checkpoint says what it is."""
    folder = tmp_path / "judge"
    (folder / "evaluation/test").mkdir(parents=True)
    rows = [{"image_id": "1", "caption": caption, "score": 0.5, "rating": 2.0} for caption in ("a cat", "a dog")]
    (folder / "evaluation/test/predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = {"scores": {"preference/accuracy": {"value": 0.7, "signature": "accuracy|pairs:9"}}, "statistics": {}}
    (folder / "evaluation/test/scores.json").write_text(json.dumps(scores))
    (folder / "config.yaml").write_text("policy: null\nreward_model: {class_path: rlcap.reward_models.text.TextReward}")
    judge, policy = read_runs([folder, two_runs[0]], "test").runs
    assert (judge.kind, policy.kind) == ("reward_model", "policy")
    assert judge.evaluation.predictions["1"].caption == "a cat"
    assert not [note for note in judge.notes if "repeat" in note]
    (folder / "config.yaml").unlink()
    assert read(folder).kind == ""
    marker = folder / "checkpoints/10/reward_model/rlcap_reward_model.json"
    marker.parent.mkdir(parents=True)
    marker.write_text("{}")
    assert read(folder).kind == "reward_model"
