"""The numbers by which methods are compared: on which images, under which signature, and which differences hold."""

import csv
import io
import json
import re

import numpy as np
import pytest
from scipy.stats import ttest_rel

from rewards.base import Candidates
from rewards.bleu import Bleu
from rlcap.reporting import ReportError, ReportOptions
from rlcap.reporting.material import gather
from rlcap.reporting.names import direction
from rlcap.reporting.page.latex import latex_table
from rlcap.reporting.reading.runs import read_runs
from rlcap.reporting.sections import summary
from rlcap.reporting.sections.scores import (
    pair_table,
    runs_csv,
    score_table,
    scores_csv,
    statistics_table,
    uncompared_table,
)
from rlcap.reporting.tables import Cell, Table


def material_of(folders, **options):
    return gather(read_runs(folders, "test"), ReportOptions(**options))


def rows_of(table):
    return {row[0].text: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def rescore(run, metric, value, signature, scores):
    """Adds a metric to a run: its value for the split, and each image's."""
    test = run / "evaluation" / "test"
    summary = json.loads((test / "scores.json").read_text())
    summary["scores"][metric] = {"value": value, "signature": signature}
    (test / "scores.json").write_text(json.dumps(summary))
    rows = [json.loads(line) for line in (test / "predictions.jsonl").read_text().splitlines()]
    for row, score in zip(rows, scores, strict=True):
        row["scores"][metric] = score
    (test / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def change_captions(run, change):
    path = run / "evaluation" / "test" / "predictions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**row, **change(place)}) + "\n" for place, row in enumerate(rows)))
    return run


def noisy(rng, mean, images=80):
    return (mean + rng.normal(0, 0.5, images)).round(6).tolist()


def test_one_seed_each_is_the_paired_t_test(make_seed):
    rng = np.random.default_rng(3)
    before, after = noisy(rng, 1.0), noisy(rng, 1.2)
    folders = [make_seed("before", 0, before, {"policy": "new"}), make_seed("after", 0, after)]
    material = material_of(folders, resamples=20_000)
    found = material.main.differences[1]
    exact = ttest_rel(after, before)
    assert found.value == pytest.approx(np.mean(after) - np.mean(before))
    assert found.p == pytest.approx(exact.pvalue, rel=0.05)
    low, high = exact.confidence_interval()
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.003)
    assert material.columns.holds(material.main, 1) == (found.p < 0.05)


def test_the_table_shows_means_over_seeds_and_marks_what_holds(make_seed):
    folders = [make_seed("start", 0, [1.0, 1.5] * 20, {"policy": "new"})]
    folders += [make_seed(f"better-{n}", n, [2.0 + n / 100, 2.5] * 20, {"x": 1}) for n in range(3)]
    folders += [make_seed(f"same-{n}", n, [1.0, 1.5] * 20, {"x": 2}) for n in range(3)]
    material = material_of(folders)
    rows = rows_of(score_table(material))
    better = rows["better"]["CIDEr-D [1]"]
    assert (better.text, better.strong) == ("2.255", True)
    assert better.detail.endswith("\n+1.005 ▲")
    same = rows["same"]["CIDEr-D [1]"]
    assert (same.text, same.strong, same.detail.split("\n")[1]) == ("1.250", False, "0.000")
    assert rows["better"]["Seeds"].detail == "0, 1, 2"
    pairs = rows_of(pair_table(material))
    assert pairs["same"]["better"].text == "−1.005 ▼"
    assert pairs["better"]["same"].text == "+1.005 ▲"


def test_the_best_is_marked_only_where_it_beats_all_others(make_seed):
    rng = np.random.default_rng(0)
    base = np.array(noisy(rng, 1.0))
    above = base + 1 + rng.normal(0, 0.1, 80)
    close = [above, above + rng.normal(0, 0.3, 80)]  # two that no test tells apart
    folders = [make_seed("start", 0, base.tolist(), {"policy": "new"})]
    folders += [make_seed(f"m{n}-0", 0, scores.tolist(), {"x": n}) for n, scores in enumerate(close)]
    column = material_of(folders).main
    assert column.between(2, 1).p > 0.05
    assert column.best is None
    assert material_of(folders[:2]).main.best == 1


def test_correction_is_by_column_or_by_table(make_seed):
    rng = np.random.default_rng(1)
    folders = [make_seed("start", 0, noisy(rng, 1.0), {"policy": "new"})]
    folders += [make_seed(f"m{n}-0", 0, noisy(rng, 1.1 + n / 20), {"x": n}) for n in range(3)]
    for folder in folders:
        rescore(folder, "other", 2.0, "other|v:1", [2.0] * 80)
    found = {
        kind: [material.columns.p(material.main, place) for place in (1, 2, 3)]
        for kind in ("none", "column", "table")
        for material in [material_of(folders, correction=kind)]
    }
    raw = np.array(found["none"])
    order = raw.argsort()
    by_column = np.empty(3)
    by_column[order] = np.minimum(1, np.maximum.accumulate(raw[order] * [3, 2, 1]))
    assert found["column"] == pytest.approx(by_column)
    by_table = np.empty(3)  # the other column's three differences are 0, with p = 1
    by_table[order] = np.minimum(1, np.maximum.accumulate(raw[order] * [6, 5, 4]))
    assert found["table"] == pytest.approx(by_table)


def test_a_column_holds_one_signature(make_seed):
    start = make_seed("start", 0, [1.0, 2.0], {"policy": "new"}, signature="CIDEr-D|df:a")
    seeds = [make_seed(f"a-{n}", n, [n + 2.0, 3.0], signature=f"CIDEr-D|df:{df}") for n, df in enumerate("ab")]
    material = material_of([start, *seeds])
    table = score_table(material)
    rows = rows_of(table)
    assert table.columns[2:] == ("CIDEr-D [1]", "CIDEr-D [2]")
    assert table.notes[:2] == ("[1] CIDEr-D|df:a", "[2] CIDEr-D|df:b")
    assert [rows["a"][f"CIDEr-D [{n}]"].text for n in (1, 2)] == ["2.500", "3.000"]
    assert rows["a"]["CIDEr-D [1]"].detail.endswith("1 of 2 seeds")
    assert rows["start"]["CIDEr-D [2]"].text == "–"
    unsigned = [make_seed(name, 0, [1.0, 2.0], {"x": name}, signature="") for name in ("c-0", "d-0")]
    assert len(material_of(unsigned).columns.scores) == 2


def test_bleu_is_resampled_from_counts_and_not_averaged(make_seed):
    captions = [
        ["a cat on a mat", "a red ball", "two dogs run in the park"],
        ["a cat on the mat", "a ball", "dogs run"],
    ]
    references = [["a cat sits on a mat"], ["a red ball on grass"], ["two dogs run in a park"]]
    folders = []
    for name, of_run in zip(("start", "after"), captions, strict=True):
        run = make_seed(name, 0, [1.0] * 30, {"policy": name})
        change_captions(run, lambda n, of_run=of_run: {"caption": of_run[n % 3], "references": references[n % 3]})
        rewards = Bleu(2)
        candidates = Candidates(of_run * 10, references=references * 10)
        each = rewards(candidates)
        value = rewards.aggregate(candidates, each)
        assert value != pytest.approx(each.mean(), rel=0.01)
        folders.append(rescore(run, "BLEU-2", value, "BLEU-2|length:closest|tok:ptb|refs:1", each.tolist()))
        material = material_of(folders)
        column = material.columns.scores[1]
        assert column.estimates[len(folders) - 1].value == pytest.approx(value)
    assert column.images == 30
    found = column.differences[1]
    assert found.low < found.value < found.high < 0


def test_bleu_that_the_captions_do_not_give_is_named_and_kept_apart(make_seed):
    folders = [make_seed(name, 0, [1.0] * 4, {"policy": name}) for name in ("start", "after")]
    for folder, value in zip(folders, (1.0, 0.5), strict=True):  # the captions are the references
        rescore(folder, "BLEU-1", value, "BLEU-1|length:closest|tok:ptb", [value] * 4)
    material = material_of(folders)
    assert [column.name for column in material.columns.scores] == ["CIDEr-D", "BLEU-1", "BLEU-1"]
    assert "after: BLEU-1 is 0.500 in scores.json, but 1.000 of its captions." in material.remarks


def test_images_without_the_main_score_are_left_out_and_named(make_seed):
    folders = [make_seed("start", 0, [1.0, 2.0, 3.0, 4.0], {"x": 0}), make_seed("after", 0, [2.0, 3.0, 5.0, 9.0])]
    change_captions(folders[1], lambda place: {"scores": {"CIDEr-D": [2.0, 3.0, 5.0][place]} if place < 3 else {}})
    path = folders[1] / "evaluation" / "test" / "scores.json"
    path.write_text(path.read_text().replace("4.75", "3.3333333333333335"))
    material = material_of(folders)
    assert material.main.differences[1].value == pytest.approx(4 / 3)
    assert material.main.images == 3
    assert "after lacks the CIDEr-D of 1 images, which are left out of all runs." in material.remarks


def test_what_is_better_lower_is_told_so(make_seed):
    rng = np.random.default_rng(0)
    folders = [make_seed("start", 0, [1.0] * 60, {"policy": "new"})]
    folders += [make_seed(f"m{n}", 0, [1.0] * 60, {"x": n}) for n in range(4)]
    for place, folder in enumerate(folders):
        each = (rng.normal(0.9 - 0.1 * place, 0.01, 60)).tolist()
        rescore(folder, "errors", float(np.mean(each)), "CHAIRs|v:1", each)
    material = material_of(folders, metric="errors")
    assert material.main.best == 4
    headline = summary.blocks(material)[0]
    assert headline.verdict == "On errors, m3 is better than every other method."
    assert "Better on 60 images, equal on 0, worse on 0." in headline.evidence
    assert headline.remarks[0].startswith("It leads m2, the next, by 0.")
    assert (direction("CHAIR", "-CHAIRi|v:1"), direction("CHAIR"), direction("length")) == (1, -1, 0)


def test_rounding_makes_no_image_better(make_seed):
    scores = [0.1, 0.7, 1.3, 2.9, 0.3] * 8
    folders = [make_seed("start", 0, scores, {"policy": "new"}), *(make_seed(f"a-{n}", n, scores) for n in range(3))]
    assert "Better on 0 images, equal on 40, worse on 0." in summary.blocks(material_of(folders))[0].evidence


def test_the_baseline_may_be_the_best(make_seed):
    rng = np.random.default_rng(0)
    folders = [make_seed(f"m{n}", 0, noisy(rng, 1.0 + n), {"x": n}) for n in range(5)]
    headline = summary.blocks(material_of(folders, baseline="m4"))[0]
    assert headline.verdict == "On CIDEr-D, m4 is better than every other method."
    assert headline.after == f"{np.mean(material_of(folders).main.runs[4].values):.3f}"


def test_a_metric_that_no_run_has_is_refused(make_seed):
    with pytest.raises(ReportError, match=r"^no run has a score called 'SPICE': --metric is one of CIDEr-D$"):
        material_of([make_seed("start", 0, [1.0])], metric="SPICE")


def test_seeds_that_agree_tell_nothing_of_chance(make_seed):
    folders = [
        make_seed("start", 0, [1.0] * 5, {"policy": "new"}),
        *(make_seed(f"a-{n}", n, [2.0] * 5) for n in range(3)),
    ]
    for place, folder in enumerate(folders):
        rescore(folder, "METEOR", 0.3 + (place > 0) / 10, "METEOR|v:1.5", [0.1] * 5)
    column = material_of(folders).columns.scores[1]
    assert column.differences[1].p is None
    assert column.best is None


def test_a_corpus_score_that_cannot_be_resampled_rests_on_seeds_alone(make_seed):
    folders = [
        make_seed("start", 0, [1.0] * 9, {"policy": "new"}),
        *(make_seed(f"a-{n}", n, [2.0] * 9) for n in range(3)),
    ]
    for place, folder in enumerate(folders):
        rescore(folder, "METEOR", 0.3 + place / 100, "METEOR|v:1.5", [0.1] * 9)
    column = material_of(folders).columns.scores[1]
    assert column.images == 0
    assert [found.value for found in column.estimates] == pytest.approx([0.3, 0.32])
    assert column.estimates[0].low is None
    half = 4.302653 * 0.01 / np.sqrt(3)  # t of two degrees of freedom, deviation 0.01
    assert column.estimates[1].high == pytest.approx(0.32 + half, rel=1e-4)


def test_a_corpus_score_that_happens_to_be_a_mean_stays_in_its_column(make_seed):
    folders = [make_seed(f"a-{n}", n, [2.0] * 4) for n in range(3)]
    for value, folder in zip((0.3, 0.31, 0.1), folders, strict=True):  # the last happens to be the captions' mean
        rescore(folder, "METEOR", value, "METEOR|v:1.5", [0.1] * 4)
        rescore(folder, "BLEU-1", 1.0, "BLEU-1|length:closest|tok:ptb", [1.0] * 4)
    columns = material_of(folders).columns.scores
    assert [(column.name, column.images) for column in columns] == [("CIDEr-D", 4), ("METEOR", 0), ("BLEU-1", 4)]


def test_interquartile_means(make_seed):
    scores = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 107.0]
    column = material_of([make_seed("a-0", 0, scores)], aggregate="interquartile_mean").main
    assert column.estimates[0].value == pytest.approx(3.5)


def test_runs_of_different_images_are_compared_on_those_of_all(make_run):
    signature = "ROUGE-L|v:1"
    scores = {str(n): float(n) for n in range(8)}
    other = {str(n): float(n) + 1 for n in range(2, 12)}
    few = {"0": 1.0, "50": 1.0}
    runs = [
        make_run(name, dict.fromkeys(of_run, "a"), of_run, signature)
        for name, of_run in (("start", scores), ("other", other), ("few", few))
    ]
    material = material_of(runs)
    assert material.images.image_ids == tuple(map(str, range(2, 8)))
    assert material.main.estimates[0].value == pytest.approx(np.mean(range(2, 8)))
    assert material.main.differences[1].value == pytest.approx(1.0)
    assert material.main.runs[2] is None
    assert rows_of(uncompared_table(material))["few"]["CIDEr-D [1]"].text == "1.000"
    remarks = "\n".join(material.remarks)
    assert "other captioned 10 images, of which 6 are those of start." in remarks
    assert "few is not compared: of the 8 images of start it captioned 1." in remarks
    assert "Scores are compared on the 6 images that all compared runs captioned." in remarks
    assert not material.columns.statistics  # those of other images than are compared


def test_document_frequencies_of_other_images_make_another_score(make_run):
    start = make_run("start", dict.fromkeys("abcd", "x"), dict.fromkeys("abcd", 1.0))
    other = make_run("other", dict.fromkeys("abcde", "x"), dict.fromkeys("abcde", 3.0))
    columns = material_of([start, other]).columns.scores
    assert [column.name for column in columns] == ["CIDEr-D", "CIDEr-D"]
    assert columns[1].signature.endswith("of the 5 images of other")


def test_images_with_other_references_are_other_images(make_run):
    runs = [make_run(name, dict.fromkeys("abcd", "x"), dict.fromkeys("abcd", 1.0)) for name in ("start", "other")]
    change_captions(runs[1], lambda place: {"references": ["another thing"] if place == 0 else ["a thing"]})
    material = material_of(runs)
    assert material.images.image_ids == ("b", "c", "d")
    assert "(1 more have other references)" in "\n".join(material.remarks)
    change_captions(runs[1], lambda place: {"references": ["another thing"]})
    assert "other is not compared" in "\n".join(material_of(runs).remarks)


def test_statistics_have_intervals_over_seeds_alone(make_seed):
    folders = [
        make_seed("start", 0, [1.0] * 5, {"policy": "new"}),
        *(make_seed(f"a-{n}", n, [2.0] * 5) for n in range(3)),
    ]
    for place, folder in enumerate(folders):
        path = folder / "evaluation" / "test" / "scores.json"
        summary = json.loads(path.read_text())
        summary["statistics"] = {"vocabulary": 100 + place, "bad_ending_rate": 0.1}
        path.write_text(json.dumps(summary))
    table = statistics_table(material_of(folders))
    rows = rows_of(table)
    assert table.columns == ("Method", "Bad endings", "Vocabulary")
    assert rows["a"]["Vocabulary"].text == "102"
    assert re.fullmatch(r"100 to 104\n\+2", rows["a"]["Vocabulary"].detail)
    assert rows["start"]["Bad endings"].text == "10.0 %"


def test_files_hold_every_digit_and_every_run(make_seed):
    folders = [make_seed("start", 0, [1.0, 2.0], {"policy": "new"})]
    folders += [make_seed(f"<b>x_|`-{n}", n, [2.0 + n, 4.0]) for n in range(2)]
    material = material_of(folders)
    scores = list(csv.DictReader(io.StringIO(scores_csv(material))))
    row = next(row for row in scores if row["method"] == "<b>x_|`" and row["metric"] == "CIDEr-D")
    assert (float(row["value"]), float(row["difference"]), row["seeds"], row["images"]) == (3.25, 1.75, "2", "2")
    runs = list(csv.DictReader(io.StringIO(runs_csv(material))))
    assert [float(row["value"]) for row in runs if row["metric"] == "CIDEr-D"] == [1.5, 3.0, 3.5]


def test_latex_is_a_table_whose_texts_are_text(make_seed):
    names = "a_b & 50% \\input{x} ~^#$"
    folders = [make_seed("start", 0, [1.0, 2.0], {"policy": "new"}), make_seed(f"{names}-0", 0, [3.0, 3.0])]
    latex = latex_table(score_table(material_of(folders)))
    rows = [line for line in latex.splitlines() if line.endswith("\\\\")]
    assert all(len(re.findall(r"(?<!\\)&", row)) == 2 for row in rows)
    assert "\\input" not in latex
    assert r"a\_b \& 50\% \textbackslash{}input\{x\} \textasciitilde{}\textasciicircum{}\#\$" in latex
    assert latex.count("{") - latex.count("\\{") == latex.count("}") - latex.count("\\}")
    (row,) = [line for line in latex_table(Table("t", ("a",), ((Cell(" [2pt] *"),),))).splitlines() if "2pt" in line]
    assert row == "{}[2pt] * \\\\"  # which would be an argument of the line break before it
