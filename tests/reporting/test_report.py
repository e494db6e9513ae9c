import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rlcap.reporting import ReportError, ReportOptions, watch_report, write_report
from rlcap.reporting.material import gather
from rlcap.reporting.reading.runs import read_runs

VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror='alert(\"2\")'> & | [a](http://b) `c` **d**\n# e"


class Page(HTMLParser):
    """A page's elements and texts; refuses tags that do not balance."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)


@pytest.fixture(scope="module")
def output(two_runs, tmp_path_factory):
    page = write_report(two_runs, tmp_path_factory.mktemp("report") / "new" / "folder")
    assert page.name == "report.html"
    return page.parent


def read(folder):
    html = (folder / "report.html").read_text(encoding="utf-8")
    return html, Page(html)


def write(runs, output):
    return read(write_report(runs, output).parent)


def test_page_is_self_contained(output):
    html, page = read(output)
    assert "://" not in html.replace("http://www.w3.org/", "")  # names of the SVG standard; nothing is there
    assert "@import" not in html
    tags = [tag for tag, _ in page.elements]
    assert not set(tags) & {"iframe", "object", "embed", "form", "base", "video", "audio"}
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert [attributes.get("type", "") for attributes in scripts].count("") == 1  # one that runs; others hold data
    assert not [attributes for attributes in scripts if "src" in attributes]
    for _, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("src", "href", "xlink:href"):
            assert (attributes.get(key) or "#").startswith(
                ("#", "data:image/jpeg;base64,", "data:image/png;base64,", "data:,")
            )
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_only_the_scripts_of_the_page_may_run(output):
    html, page = read(output)
    policy = next(attrs["content"] for tag, attrs in page.elements if attrs.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    bodies = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digests = {"'sha256-" + base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() + "'" for body in bodies}
    assert set(rules["script-src"].split()) == digests


def test_page_states_the_change_and_how_sure_it_is(output):
    _, page = read(output)
    assert "From cross-entropy to self-critical, CIDEr-D rose." in page.text
    assert re.search(r"95% interval \+0\.\d{3} to \+\d\.\d{3}, p < 0\.001\. Bootstrap over 60 images", page.text)
    assert "2,000 resamples, seed 0" in page.text
    assert "Missing, damaged" not in page.text
    assert "34.1 min" in page.texts  # 1,200 steps of 1.705 seconds
    for part in ("Scores", "Gallery", "Breakdowns", "Training curves", "Cost", "Runs", "How training went"):
        assert part in page.texts, part
    for part in (
        "TeacherForcing",
        "SelfCritical",
        "CIDEr-D|df:corpus|refs:5",
        "reward/cider_d",
        "val/CIDEr-D",
        "rollout",
    ):
        assert part in page.text, part
    assert "mark" in {tag for tag, _ in page.elements}


def test_markdown_links_to_every_figure(output):
    markdown = (output / "report.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\((figures/[^)]+\.svg)\)", markdown))
    files = {f"figures/{path.name}" for path in (output / "figures").iterdir()}
    assert linked <= files  # of a switch Markdown shows the first choice
    assert len(linked) > 10
    assert "| Method | Seeds | CIDEr-D &#91;1&#93; |" in markdown
    assert not list(output.rglob("*.partial"))


def test_the_same_runs_give_the_same_bytes_with_and_without_what_was_kept(two_runs, output, tmp_path):
    for _ in range(2):
        write_report(two_runs, tmp_path)
        for name in ("report.html", "report.md", "tables/scores.csv"):
            assert (tmp_path / name).read_bytes() == (output / name).read_bytes()


def test_text_from_files_is_only_ever_text(make_run, tmp_path):
    images = {
        "<b>'\"": HOSTILE,
        "ltr": "\u202eevil \u2066 \x00\x1b \ud800 end",
        "rtl": "كلب أحمر 🐶",
        "long": "x" * 10_000,
    }
    images |= {"words": "long " * 2000, "empty": ""}
    before = make_run("before <script>alert(3)</script>", images, dict.fromkeys(images, 0.5), HOSTILE)
    after = make_run("after | `x`", dict.fromkeys(images, HOSTILE), dict.fromkeys(images, 0.75), HOSTILE)
    for run in (before, after):
        (run / "metrics.jsonl").write_text(json.dumps({"step": 1, f"reward/{HOSTILE}": 1.0, "$\\frac": 2}) + "\n")
        (run / "timings.jsonl").write_text(json.dumps({"step": 1, f"time/{HOSTILE}": 1.0}) + "\n")
        (run / "config.yaml").write_text(json.dumps({HOSTILE: str(run), "algorithm": {"class_path": HOSTILE}}))
        (run / "environment.json").write_text(json.dumps({"device": HOSTILE, "commit": HOSTILE}))
    html, page = write([before, after], tmp_path / "out")
    assert "iframe" not in {tag for tag, _ in page.elements}
    assert html.count("<script>") == 1
    assert all((attributes.get("src") or "data:").startswith("data:") for _, attributes in page.elements)
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert "alert(1)" in page.text
    assert "x" * 10_000 in page.text
    assert "كلب أحمر 🐶" in re.sub("</?mark>", "", html)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x09\x0b-\x1f]", html)
    markdown = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "<script" not in markdown
    assert "<img" not in markdown
    assert "](http" not in markdown
    assert "\n# e" not in markdown
    assert not re.search(r"(?<!\\)`", markdown)
    assert max(map(len, markdown.splitlines())) < 5000


def test_runs_scored_differently_are_not_compared(make_run, tmp_path):
    before = make_run("before", {"1": "a", "2": "b"}, {"1": 0.25, "2": 0.5}, "CIDEr-D|df:corpus")
    after = make_run("after", {"1": "b", "2": "b"}, {"1": 0.75, "2": 0.5}, "CIDEr-D|df:coco")
    _, page = write([before, after], tmp_path / "out")
    assert "after is not compared with before" in page.text
    assert "CIDEr-D [2]" in page.text


def test_a_mean_that_is_not_the_recorded_score_is_named(make_run, tmp_path):
    run = make_run("run", {"1": "a"}, {"1": 0.5})
    path = run / "evaluation/test/scores.json"
    path.write_text(path.read_text().replace('"value": 0.5', '"value": 0.625'))
    _, page = write([run], tmp_path / "out")
    assert "run: CIDEr-D is 0.625 in scores.json, but the captions' mean is 0.500." in page.text


def test_missing_parts_are_named_and_the_rest_is_shown(two_runs, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(two_runs[1] / "metrics.jsonl", bare)
    _, page = write([two_runs[0], bare], tmp_path / "out")
    for part in ("config.yaml", "environment.json", "timings.jsonl", "evaluation/test"):
        assert f"bare: {part} is missing." in page.texts
    assert "bare is not compared with cross-entropy" in page.text
    assert "reward/cider_d" in page.texts


def test_one_run_alone_makes_a_report(two_runs, tmp_path):
    _, page = write([two_runs[0]], tmp_path / "out")
    assert "CIDEr-D of cross-entropy" in page.text
    assert "Gallery" in page.texts
    assert "▲" not in page.text


def test_errors_are_one_line(two_runs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match=r"^cannot write the report to [^\n]*$"):
        write_report(two_runs, tmp_path / "file")
    with pytest.raises(ReportError, match="a split is the name of a folder"):
        write_report(two_runs, tmp_path, ReportOptions(split="../test"))
    with pytest.raises(ReportError, match="no method or run is called 'x'"):
        write_report(two_runs, tmp_path, ReportOptions(baseline="x"))
    with pytest.raises(ReportError, match="there is no such directory"):
        write_report([tmp_path / "nowhere"], tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_report_needs_no_torch(two_runs, tmp_path):
    program = (
        "import sys; from pathlib import Path; sys.modules['torch'] = None\n"
        "from rlcap.reporting import write_report\n"
        "write_report([Path(sys.argv[1])], Path(sys.argv[2])); assert 'matplotlib.pyplot' not in sys.modules"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program, str(two_runs[0]), str(tmp_path)], cwd=root, check=True)
    assert (tmp_path / "report.html").is_file()


def test_a_second_report_removes_what_the_first_one_had_besides(two_runs, tmp_path):
    write_report(two_runs, tmp_path, ReportOptions(png=True, resamples=100))
    pictures = list((tmp_path / "figures").glob("*.png"))
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    assert len(pictures) > 10
    (tmp_path / "figures" / "mine.png").write_bytes(b"my own")
    write_report([two_runs[0]], tmp_path, ReportOptions(resamples=100))
    assert [path.name for path in (tmp_path / "figures").glob("*.png")] == ["mine.png"]
    linked = set(re.findall(r"figures/([^)]+\.svg)", (tmp_path / "report.md").read_text(encoding="utf-8")))
    assert linked <= {path.name for path in (tmp_path / "figures").glob("*.svg")}


def test_only_reports_are_overwritten(two_runs, tmp_path):
    (tmp_path / "report.html").write_text("<p>my own</p>")
    with pytest.raises(ReportError, match=r"is no report of rlcap and would be overwritten: choose another --output$"):
        write_report(two_runs, tmp_path)
    with pytest.raises(ReportError, match=r"is a run folder: choose another --output$"):
        write_report(two_runs, two_runs[0])
    assert (tmp_path / "report.html").read_text() == "<p>my own</p>"


def test_a_split_that_no_run_has_is_named(two_runs, tmp_path):
    _, page = read(write_report(two_runs, tmp_path, ReportOptions(split="val")).parent)
    assert "No run has an evaluation of the val split; there are: test (--split)." in page.texts
    assert "reward/cider_d" in page.texts


def test_where_the_others_started_is_the_baseline_unless_one_is_named(make_seed):
    after = {"policy": {"init_args": {"directory": "runs/start"}}}
    folders = [make_seed("after", 0, [2.0, 2.0], after), make_seed("start", 0, [1.0, 1.0])]
    reading = read_runs(folders, "test")
    assert gather(reading, ReportOptions()).baseline_method.name == "start"
    assert gather(reading, ReportOptions(baseline=str(folders[0]))).baseline_method.name == "after"
    named = ReportOptions(names={"after": "PPO"}, baseline="after")
    assert gather(reading, named).baseline_method.name == "PPO"


def test_watching_writes_again_when_a_run_goes_on(make_seed, tmp_path):
    run = make_seed("a-0", 0, [1.0, 2.0], rows=[{"step": 1, "reward/x": 1.0}])
    pages = watch_report([run], tmp_path / "out", seconds=0.05)
    first = next(pages).read_text(encoding="utf-8")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "reward/y": 2.0}\n')
    assert "reward/y" not in first
    assert "reward/y" in next(pages).read_text(encoding="utf-8")
