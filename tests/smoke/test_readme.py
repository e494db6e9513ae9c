"""What the documents say exists: commands and their options, configurations, paths, links, and dotted names."""

import functools
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlcap import cli
from rlcap.commands.train import experiment_parser

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = "configs|scripts|docs|tests|benchmarks|rlcap|rewards"
FILES = (".yaml", ".yml", ".json", ".jsonl", ".py", ".md", ".html", ".sh")


def to_be_written(name: str) -> bool:
    """Whether a name stands for what the reader will write."""
    return bool(re.search(r"\bmine\b", name))


def fenced(text: str) -> Iterator[str]:
    """The command lines of the bash blocks, one command each."""
    for block in re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            yield from (part.strip() for part in re.split(r"&&|;|\|", line.partition(" #")[0]))


def commands(text: str) -> list[str]:
    """Every call of rlcap, in blocks and within sentences."""
    inline = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    calls = [*fenced(text), *inline]
    return [call for call in calls if call.startswith("rlcap ") and not call.startswith("rlcap -")]


@functools.cache
def help_of(command: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("sys.stdout.write", said.append)
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
    return "".join(said)


@pytest.fixture(params=DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def document(request: pytest.FixtureRequest) -> Path:
    assert isinstance(request.param, Path)
    return request.param


def test_the_readme_has_commands() -> None:
    calls = commands((ROOT / "README.md").read_text())
    assert {shlex.split(call)[1] for call in calls} >= {"quickstart", "train", "evaluate", "caption", "score", "report"}


@pytest.mark.usefixtures("at_the_root")
def test_commands_and_their_options_exist(document: Path) -> None:
    for call in commands(document.read_text()):
        _, command, *arguments = shlex.split(call)
        assert command in cli.COMMANDS, call
        for argument in arguments:
            if argument.startswith("--"):
                option = re.split(r"=|\.init_args\.|(?<=metrics)\.", argument)[0]  # metrics have names of the user's
                assert re.search(rf"{re.escape(option)}\b", help_of(command)), call


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_speaks_of_types_and_not_of_code(command: str) -> None:
    assert not re.findall(r"<function|<lambda|<locals>", help_of(command))


@pytest.fixture
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [*cli.sys.path])
    monkeypatch.chdir(ROOT)


@pytest.mark.usefixtures("at_the_root")
def test_training_commands_parse(document: Path) -> None:
    for call in fenced(document.read_text()):
        words = shlex.split(call, comments=True)
        if words[:2] == ["rlcap", "train"] and "$" not in call and "--resume" not in words:
            if to_be_written(words[words.index("--config") + 1]):
                continue  # its own test runs it
            experiment_parser(call).parse_args(words[2:])


def test_paths_exist(document: Path) -> None:
    names = re.findall(rf"(?<![\w./-])(?:{FOLDERS})/[\w./-]*", document.read_text())
    missing = [name for name in names if not to_be_written(name) and not (ROOT / name.rstrip(".")).exists()]
    assert missing == []


def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text())
    local = [link for link in links if not re.match(r"\w+:", link)]
    assert [link for link in local if not (document.parent / link).exists()] == []


def test_dotted_names_import(document: Path) -> None:
    found = re.findall(r"(?<![\w./-])((?:rlcap|rewards)(?:\.\w+)+)(?![\w/-])(\(?)", document.read_text())
    for name, call in found:
        method = call and re.fullmatch(r"rewards\.[a-z_]+", name)  # of a tensor that is called rewards
        if not method and not name.endswith(FILES) and not to_be_written(name):
            assert pkgutil.resolve_name(name) is not None, name
