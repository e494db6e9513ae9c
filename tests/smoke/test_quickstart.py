"""``rlcap quickstart`` with shorter recipes: both runs, the report, and a closing line that tells the same numbers."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from rlcap import cli
from rlcap.commands import quickstart

STEPS = {"teacher_forcing": 25, "self_critical": 3}
SCENES = {"train": 64, "val": 6, "test": 12}


@dataclass(frozen=True)
class Finished:
    """What a quick start left: its folder and what it said on standard output."""

    output: Path
    said: str


def shorten(recipes: Path, to: Path) -> None:
    """The recipes with fewer steps (of warm-up too) and images, and otherwise as they are."""
    for name, steps in STEPS.items():
        recipe = yaml.safe_load((recipes / f"{name}.yaml").read_text())
        recipe["data"]["init_args"] = SCENES
        recipe["schedule"]["init_args"]["warmup"] = 2
        recipe["training"] |= {"steps": steps, "evaluate_every": steps, "images_per_batch": 16}
        (to / f"{name}.yaml").write_text(yaml.safe_dump(recipe))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    place = tmp_path_factory.mktemp("quickstart")
    shorten(quickstart.RECIPES, place)
    written: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr("sys.path", [*cli.sys.path])
        patch.setattr(quickstart, "RECIPES", place)
        patch.setattr(cli.sys.stdout, "write", written.append)
        cli.main(["quickstart", "--output", "made", "--seed", "3"])
    return Finished(place / "made", "".join(written))


def test_recipes_are_those_that_are_installed() -> None:
    assert {path.name for path in quickstart.RECIPES.iterdir()} == {f"{name}.yaml" for name in STEPS}


@pytest.mark.parametrize("name", STEPS)
def test_both_runs_are_there(finished: Finished, name: str) -> None:
    run = finished.output / name
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1] == STEPS[name]
    assert (run / "checkpoints" / str(STEPS[name])).is_dir()
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["training"]["seed"] == 3
    if name == "self_critical":
        assert config["policy"]["init_args"]["directory"] == "made/teacher_forcing"
    scores = json.loads((run / "evaluation" / "test" / "scores.json").read_text())
    assert scores["images"] == SCENES["test"]


def test_the_report_opens_offline(finished: Finished) -> None:
    page = (finished.output / "report" / "report.html").read_text()
    assert "rlcap quick start" in page
    assert "teacher_forcing" in page
    assert "self_critical" in page
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    assert (finished.output / "report" / "report.md").is_file()


def test_the_closing_line_tells_the_numbers_of_the_runs(finished: Finished) -> None:
    report, closing = finished.said.splitlines()
    assert report == "report: made/report/report.html"
    before, after = (
        json.loads((finished.output / name / "evaluation" / "test" / "scores.json").read_text())["scores"]["CIDEr-D"][
            "value"
        ]
        for name in STEPS
    )
    assert before > 0
    found = re.fullmatch(
        r"CIDEr-D on the test split: (\S+) after teacher forcing, (\S+) after self-critical training \((\S+)%\)",
        closing,
    )
    assert found is not None, closing
    assert found.groups() == (f"{before:.3f}", f"{after:.3f}", f"{100 * (after / before - 1):+.1f}")


def test_an_output_that_exists_is_refused_in_one_line(
    finished: Finished, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [*cli.sys.path])
    before = {path: path.stat().st_mtime_ns for path in finished.output.rglob("*")}
    with pytest.raises(SystemExit) as stop:
        cli.main(["quickstart", "--output", str(finished.output)])
    output, error = capsys.readouterr()
    assert (stop.value.code, output) == (2, "")
    assert error == (f"rlcap quickstart: error: {finished.output} exists and is not empty: choose another --output\n")
    assert {path: path.stat().st_mtime_ns for path in finished.output.rglob("*")} == before
