"""Runs that differ in their seed alone are one method, and a method can be named and chosen."""

import pytest

from rlcap.reporting import ReportError, ReportOptions
from rlcap.reporting.material import gather
from rlcap.reporting.methods import group_runs
from rlcap.reporting.reading.runs import read_runs


def grouped(folders):
    methods, notes = group_runs(read_runs(folders, "test").runs)
    return [(method.name, method.places, method.seeds) for method in methods], notes


def test_runs_that_differ_in_the_seed_alone_are_a_method(make_seed):
    names = ("start", "a-0", "b-0", "a-1", "b-7")
    settings = {"s": {"policy": "new"}, "a": {"algorithm": {"samples": 5}}, "b": {"algorithm": {"samples": 6}}}
    folders = [make_seed(name, int(name[-1]) if "-" in name else 0, [1.0], settings[name[0]]) for name in names]
    methods, notes = grouped(folders)
    assert methods == [("start", (0,), ("0",)), ("a", (1, 3), ("0", "1")), ("b", (2, 4), ("0", "7"))]
    assert notes == ()


def test_settings_without_effect_do_not_part_a_method_and_others_do(make_seed):
    same = [{"training": {"seed": seed, "steps": 9, "workers": seed, "trackers": ["x"] * seed}} for seed in range(3)]
    folders = [make_seed(f"a-{seed}", seed, [1.0], same[seed]) for seed in range(3)]
    longer = make_seed("a-3", 3, [1.0], {"training": {"seed": 3, "steps": 10}})
    methods, notes = grouped([*folders, longer])
    assert methods == [("a", (0, 1, 2), ("0", "1", "2")), ("a-3", (3,), ("3",))]
    assert notes == ("a-3 is a method of its own: it differs from a-0 in training.steps.",)


def test_lists_are_compared_to_their_ends(make_seed):
    folders = [make_seed(f"a-{seed}", seed, [1.0], {"layers": [*range(50), seed]}) for seed in range(2)]
    methods, _ = grouped(folders)
    assert [name for name, _, _ in methods] == ["a-0", "a-1"]


def test_names_that_do_not_end_in_the_seed_stay(make_seed):
    methods, _ = grouped([make_seed("resnet10", 0, [1.0]), make_seed("other", 1, [1.0])])
    assert methods == [("resnet10", (0, 1), ("0", "1"))]


def test_seeds_that_each_start_from_a_run_of_their_own_are_a_method(make_seed):
    starts = [{"policy": {"init_args": {"directory": f"out/xe-{seed}/checkpoints/3"}}} for seed in range(2)]
    methods, notes = grouped([make_seed(f"rl-{seed}", seed, [1.0], starts[seed]) for seed in range(2)])
    assert methods == [("rl", (0, 1), ("0", "1"))]
    assert notes == ()


def test_where_others_start_is_told_by_the_path(make_seed, tmp_path):
    inner = {
        "policy": {"init_args": {"policy": {"init_args": {"directory": f"{tmp_path}/one/xe/checkpoints/3/policy"}}}}
    }
    folders = [make_seed(name, 0, [1.0], {"x": name}) for name in ("one/xe", "two/xe")]
    material = gather(read_runs([*folders, make_seed("rl", 0, [2.0], inner)], "test"), ReportOptions())
    assert [material.methods[place].name for place in material.starts] == ["one/xe"]


def test_a_seed_that_was_run_twice_counts_once(make_seed):
    folders = [make_seed(name, 0, [score]) for name, score in (("a-0", 1.0), ("again", 9.0))]
    methods, notes = grouped(folders)
    assert methods == [("a-0", (0,), ("0",))]
    assert notes == ("again repeats seed 0 of a-0 and is left out.",)


@pytest.mark.parametrize("content", ["a: [", "training: {steps: 3}", "a: &a [*a]\ntraining: {seed: 0}"])
def test_a_run_whose_configuration_tells_no_seed_is_named_and_stands_alone(make_seed, content):
    folders = [make_seed(name, seed, [1.0]) for seed, name in enumerate(("a-0", "a-1", "a-2"))]
    for folder in folders[1:]:
        (folder / "config.yaml").write_text(content)
    methods, notes = grouped(folders)
    assert methods == [("a-0", (0,), ("0",)), ("a-1", (1,), ()), ("a-2", (2,), ())]
    assert notes == tuple(f"a-{n} stands alone: no configuration with a seed could be read." for n in (1, 2))


def test_methods_are_named_and_chosen(make_seed):
    folders = [make_seed("start", 0, [1.0], {"policy": "new"}), *(make_seed(f"a-{n}", n, [2.0]) for n in range(2))]
    reading = read_runs(folders, "test")
    material = gather(reading, ReportOptions(names={"a": "PPO"}, baseline="PPO"))
    assert [method.name for method in material.methods] == ["start", "PPO"]
    assert material.baseline == gather(reading, ReportOptions(baseline="a-1")).baseline == 1
    for options, message in (
        (ReportOptions(baseline="b"), "no method or run is called 'b': the baseline is one of start, a"),
        (ReportOptions(names={"b": "x"}), "no method is called 'b': name one of start, a"),
        (ReportOptions(names={"a": "start"}), "two methods would be called 'start': give each a name of its own"),
    ):
        with pytest.raises(ReportError, match=f"^{message}$"):
            gather(reading, options)
