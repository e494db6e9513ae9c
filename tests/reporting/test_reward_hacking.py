"""Signs of a hacked reward: correlations against scipy, drift, and the images on which the others fell."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
import scipy.stats

from rlcap.reporting import write_report
from rlcap.reporting.material import gather
from rlcap.reporting.options import ReportOptions
from rlcap.reporting.reading.runs import read_runs
from rlcap.reporting.sections.correlations import agreement, agreement_blocks, drift_table
from rlcap.reporting.sections.fallen_images import changes, fallen_blocks, proxies
from rlcap.reporting.sections.reward_hacking import section
from rlcap.reporting.statistics.correlation import pearson, spearman


def material_of(*folders, **options):
    return gather(read_runs(folders, "test"), ReportOptions(resamples=100, **options))


def array(*values):
    return np.array(values, dtype=float)


def test_correlations_by_hand():
    assert pearson(array(1, 2, 3), array(2, 4, 6)) == pytest.approx(1)
    assert pearson(array(0, 1, 2), array(0, 1, 0)) == 0
    assert pearson(array(1, 2, 3, 4), array(1, 3, 2, 4)) == pytest.approx(0.8)
    assert spearman(array(1, 2, 3, 4), array(1, 30, 20, 1e6)) == pytest.approx(0.8)
    assert spearman(array(1, 2, 3), array(5, 5, 5)) is None
    assert pearson(array(1), array(2)) is None


@pytest.mark.parametrize("ties", [False, True], ids=["no ties", "ties"])
def test_correlations_are_those_of_scipy(ties):
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 50))
    other = other + one / 2
    if ties:
        one, other = np.round(one), np.round(other)
    assert spearman(one, other) == pytest.approx(scipy.stats.spearmanr(one, other).statistic, rel=1e-12)
    assert pearson(one, other) == pytest.approx(scipy.stats.pearsonr(one, other).statistic, rel=1e-12)


def logs(scores, lengths=(), every=10, reward=1.0):
    """Rows of a run whose training reward rises by 1 a step, with a score at every validation."""
    last = every * (len(scores) - 1)
    rows = [{"step": step, "reward/sampled": reward * step} for step in range(1, last + 2)]
    for place, score in enumerate(scores):
        more = {"val/length": lengths[place]} if lengths else {}
        rows.append({"step": every * place, "val/CIDEr-D": score, **more})
    return rows


def test_a_run_by_hand(make_seed):
    rising = make_seed("rising", 0, [1.0], rows=logs([9.0, 1.0, 3.0, 2.0, 4.0]))
    few = make_seed("few", 0, [1.0], {"x": 1}, rows=logs([1.0, 2.0, 3.0, 4.0]))
    falling = make_seed("falling", 0, [1.0], {"x": 2}, rows=logs([1.0, 5.0, 4.0, 3.0, 2.0]))
    runs = read_runs([rising, few, falling], "test").runs
    one = agreement(runs[0], "val/CIDEr-D")  # of the four validations after the start
    assert (one.spearman, one.pearson, one.points) == (pytest.approx(0.8), pytest.approx(0.8), 4)
    assert one.fell  # from 9 to 4
    assert agreement(runs[1], "val/CIDEr-D") is None  # three validations after the start
    other = agreement(runs[2], "val/CIDEr-D")
    assert (other.spearman, other.fell) == (pytest.approx(-1), True)  # lost three of the four that it had gained
    assert agreement(runs[0], "val/BLEU-4") is None


def test_the_table_over_seeds(make_seed):
    folders = [
        make_seed("a-0", 0, [1.0], rows=logs([0.0, 1.0, 2.0, 3.0, 4.0])),
        make_seed("a-1", 1, [1.0], rows=logs([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])),
        make_seed("b", 0, [1.0], {"x": 1}, rows=logs([0.0, 1.0])),
        make_seed("c", 0, [1.0], {"x": 2}, rows=logs([0.0, 1.0, 2.0, 3.0, 4.0])),
    ]
    table, figures, without = agreement_blocks(material_of(*folders))
    assert without == ("b",)
    assert [[cell.text for cell in row] for row in table.rows] == [["a", "0.00"], ["c", "+1.00"]]
    assert table.rows[0][1].detail == "Pearson 0.00\n4 to 5 points\nfell in 1 of 2 seeds"
    (figure,) = figures
    assert figure.description == "Training reward and val/CIDEr-D: a 0.00 (−1.00 to 1.00); c 1.00"
    ElementTree.fromstring(figure.standalone())


def test_a_metric_that_is_better_low_falls_when_it_rises(make_seed):
    def rows(values):
        return [{**row, "val/perplexity": row["val/CIDEr-D"]} if "val/CIDEr-D" in row else row for row in logs(values)]

    (run,) = read_runs([make_seed("a", 0, [1.0], rows=rows([1.0, 2.0, 3.0, 4.0, 5.0]))], "test").runs
    assert not agreement(run, "val/CIDEr-D").fell
    assert agreement(run, "val/perplexity").fell


def test_drift_by_hand(make_seed):
    rows = logs([1.0, 2.0], lengths=(8.0, 10.0))
    more = [{**row, "caption/bad_ending_rate": 0.5 if row["step"] <= 5 else 0.25} for row in rows[:-2]]
    table = drift_table(material_of(make_seed("a", 0, [1.0], rows=[*more, *rows[-2:]])))
    assert table.columns == ("Method", "val/length", "caption/bad_ending_rate")
    assert [cell.text for cell in table.rows[0]] == ["a", "8.0 → 10.0", "50.0 → 25.0 %"]
    assert [cell.detail for cell in table.rows[0]] == ["", "+25 %", "−25.0 points"]
    assert drift_table(material_of(make_seed("b", 0, [1.0], rows=logs([1.0, 2.0])))) is None


# --- images

SIGNATURES = {"CIDEr-D": "CIDEr-D|df:corpus", "BLEU-4": "BLEU-4|refs:5", "learned": "LearnedReward|models:one"}
CIDER = {"reward": {"class_path": "rewards.cider.CiderD", "init_args": {"eos": True}}, "weight": 1.0}


def built(of):
    return {"class_path": "mine.Learned", "init_args": {"of": of}}


@pytest.fixture
def scored(make_seed):
    """Writes a run with several scores of each image and its training rewards."""

    def make(name, scores, rewards, metrics=None, captions=None, rows=()):
        settings = {"rewards": rewards, "evaluation": {"metrics": metrics or {}}, "name": name}
        folder = make_seed(name, 0, [0.0], settings, rows)
        test = folder / "evaluation" / "test"
        images = range(len(next(iter(scores.values()))))
        lines = [
            {
                "image_id": f"i{place}", "caption": (captions or {}).get(place, f"{name} {place}"), "references": ["a"],
                "scores": {metric: float(values[place]) for metric, values in scores.items()},
            }
            for place in images
        ]  # fmt: skip
        (test / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        means = {
            metric: {"value": float(np.mean(values)), "signature": SIGNATURES[metric]}
            for metric, values in scores.items()
        }
        (test / "scores.json").write_text(json.dumps({"images": len(lines), "scores": means}), encoding="utf-8")
        return folder

    return make


@pytest.mark.parametrize(
    ("rewards", "metrics", "expected"),
    [
        ({"any": CIDER}, {}, ("CIDEr-D",)),  # by its class
        ({"cider_d": {"reward": {"class_path": "mine.Other"}}}, {}, ("CIDEr-D",)),  # by its name
        ({"any": {**CIDER, "weight": -1.0}}, {}, ()),
        ({"any": {"reward": {"class_path": "rewards.bleu.Bleu"}}}, {}, ()),
        ({"any": {"reward": built(1)}}, {"learned": built(1)}, ("learned",)),
        ({"learned": {"reward": built(1)}}, {"learned": built(2)}, ()),
        ({}, {}, ()),
    ],
    ids=["class", "name", "penalty", "another", "same settings", "other settings", "no reward"],
)
def test_which_metric_stands_for_the_reward(scored, rewards, metrics, expected):
    scores = {"CIDEr-D": [1, 2], "BLEU-4": [1, 2], "learned": [1, 2]}
    (run,) = read_runs([scored("a", scores, rewards, metrics)], "test").runs
    assert proxies(run, list(scores)) == expected


def test_images_by_hand(scored):
    before = {"CIDEr-D": [0, 2, 0, 2], "BLEU-4": [0, 0, 4, 4]}
    after = {"CIDEr-D": [1, 3, 1, 1], "BLEU-4": [4, -1, 0, 0]}
    material = material_of(
        scored("start", before, {}), scored("rl", after, {"r": CIDER}, captions={1: "", 2: "<b>|two"})
    )
    found = changes(1, *material.runs, material.images)
    assert (found.proxy, found.others) == (("CIDEr-D",), ("BLEU-4",))
    assert found.reward.tolist() == [1, 1, 1, -1]  # the deviation of 0, 2, 0, 2 is 1
    assert found.rest.tolist() == [2, -0.5, -2, -2]  # that of 0, 0, 4, 4 is 2
    assert found.fallen.tolist() == [False, True, True, False]
    _, counts, folded = fallen_blocks(material)
    assert [cell.text for cell in counts.table.rows[0]] == ["rl", "CIDEr-D", "3", "2"]
    assert counts.table.rows[0][3].detail == "50.0% of 4 images"
    (images,) = folded.blocks
    assert images.table.columns == ("Image", "start", "rl", "Others, mean change", "CIDEr-D (reward)", "BLEU-4")
    assert [[cell.text for cell in row] for row in images.table.rows] == [
        ["i2", "start 2", "<b>|two", "−2.00", "+1.000", "−4.000"],
        ["i1", "start 1", "(empty)", "−0.50", "+1.000", "−1.000"],
    ]
    assert "<b>|" not in folded.html()


def test_a_reward_that_is_no_metric_is_said_and_nothing_is_used(scored):
    scores = {"CIDEr-D": [0, 1], "BLEU-4": [1, 0]}
    material = material_of(scored("start", scores, {}), scored("rl", scores, {"r": {"reward": {"class_path": "X"}}}))
    _, paragraph = fallen_blocks(material)
    assert paragraph.words.startswith("Nothing is said of rl: the training reward is none of the metrics")
    assert fallen_blocks(material_of(*[run.folder for run in material.runs[:1]])) == ()


def test_the_report_of_run_folders(scored, tmp_path):
    hostile = "<b>|`"
    rows = [
        {**row, f"val/{hostile}": -row["val/CIDEr-D"]} if "val/CIDEr-D" in row else row
        for row in logs([1.0, 2.0, 3.0, 4.0, 5.0])
    ]
    start = scored("start", {"CIDEr-D": [0, 2], "BLEU-4": [0, 2]}, {})
    run = scored(hostile, {"CIDEr-D": [1, 2], "BLEU-4": [-1, 2]}, {"r": CIDER}, captions={0: hostile}, rows=rows)
    page = write_report([start, run], tmp_path / "out", ReportOptions(resamples=100)).read_text(encoding="utf-8")
    assert '<section id="reward-hacking"><h2>Reward hacking</h2>' in page
    assert "<b>|" not in page
    assert "fell while the reward rose" in page
    markdown = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "Pearson −1.00" in markdown


def test_runs_without_a_reward_have_no_such_section(make_seed):
    rows = [{"step": step, "val/CIDEr-D": 1.0} for step in range(6)]
    assert section(material_of(make_seed("a", 0, [1.0], rows=rows))) is None
