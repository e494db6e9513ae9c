"""The file of judgements: whole lines or none, one of a pair and rater, shared by processes, and clean after undo."""

import json
import resource
import threading
from pathlib import Path

import pytest
from annotating import lines_of

from rlcap.annotation.pairs import question_key
from rlcap.annotation.store import JudgedAlreadyError, Judgement, JudgementFile, NotSavedError, read_judgement
from rlcap.errors import UserError

DOG = Judgement("42", "a dog ✓", "a cat", False, (("new",), ("old", "older")), 3.25)
TIE = Judgement("7", "x", "y", True, (("old",), ("new",)), 1.0, "ann")


def keys_of(judgement: Judgement) -> tuple[str | None, tuple[str, frozenset[str]]]:
    return judgement.rater, question_key(judgement.image, judgement.first, judgement.second)


def test_a_line_is_what_preference_training_reads() -> None:
    assert json.loads(DOG.as_line()) == {
        "image": "42",
        "chosen": "a dog ✓",
        "rejected": "a cat",
        "runs": {"chosen": ["new"], "rejected": ["old", "older"]},
        "seconds": 3.25,
    }
    assert json.loads(TIE.as_line()) == {
        "image": "7",
        "tied": ["x", "y"],
        "runs": {"tied": [["old"], ["new"]]},
        "seconds": 1.0,
        "rater": "ann",
    }
    odd = Judgement("1", "half \ud800", "line\u2028end\n", False)
    for judgement in (DOG, TIE, odd):
        line = judgement.as_line()
        assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
        assert read_judgement("here", line) == judgement
    bare = read_judgement("here", b'{"image": 3, "chosen": "a", "rejected": "b"}')
    assert bare == Judgement("3", "a", "b", False)


def test_lines_are_appended_read_again_and_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "new" / "judgements.jsonl"
    file = JudgementFile(path)
    assert path.read_bytes() == b""
    file.append(DOG)
    assert path.read_bytes() == DOG.as_line()
    path.chmod(0o640)
    file.append(TIE)
    assert path.read_bytes() == DOG.as_line() + TIE.as_line()
    assert list(JudgementFile(path).judgements.values()) == [DOG, TIE]

    assert file.remove("ann", keys_of(DOG)[1]) is None  # ann never judged it
    assert file.remove(*keys_of(DOG)) == DOG
    assert path.read_bytes() == TIE.as_line()
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(file.judgements.values()) == [TIE]
    file.append(DOG)
    assert path.read_bytes() == TIE.as_line() + DOG.as_line()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_undo_keeps_a_link_and_what_others_wrote_into_a_line(tmp_path: Path) -> None:
    target, link = tmp_path / "target.jsonl", tmp_path / "link.jsonl"
    other = b'{"image": "1", "chosen": "a", "rejected": "b",   "note": "mine"}\n\n'
    target.write_bytes(other)
    link.symlink_to(target)
    file = JudgementFile(link)
    file.append(DOG)
    file.remove(*keys_of(DOG))
    assert link.is_symlink()
    assert target.read_bytes() == other.replace(b"\n\n", b"\n")


def test_the_same_rater_judges_a_pair_once(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    first, second = JudgementFile(path), JudgementFile(path)  # as two processes have it
    first.append(DOG)
    turned = Judgement("42", "a cat", " a  dog ✓", False)
    with pytest.raises(JudgedAlreadyError, match="judged already"):
        second.append(turned)
    second.append(Judgement("42", "a cat", "a dog ✓", False, rater="ann"))
    first.refresh()
    assert len(first.judgements) == len(lines_of(path)) == 2
    assert second.remove(*keys_of(DOG)) == DOG
    first.append(DOG)  # though its file was replaced by another
    assert [row.get("rater") for row in lines_of(path)] == ["ann", None]


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"

    def write(rater: str) -> None:
        file = JudgementFile(path)
        for image in range(12):
            judgement = Judgement(str(image), "a", "b", False, rater=rater)
            file.append(judgement)
            if image % 3 == 0:
                file.remove(*keys_of(judgement))

    threads = [threading.Thread(target=write, args=(rater,)) for rater in ("ann", "bob", "cyd")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((row["rater"], int(row["image"])) for row in lines_of(path)) == [
        (rater, image) for rater in ("ann", "bob", "cyd") for image in range(12) if image % 3
    ]


def test_what_a_full_disk_cuts_off_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    file = JudgementFile(path)
    file.append(TIE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(TIE.as_line()) + 10, hard))  # room for ten bytes more
    try:
        with pytest.raises(NotSavedError, match=r"cannot write j\.jsonl, so nothing is saved: File too large"):
            file.append(DOG)
        assert path.read_bytes() == TIE.as_line()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(file.judgements.values()) == [TIE]
    file.append(DOG)
    assert path.read_bytes() == TIE.as_line() + DOG.as_line()


def test_a_removed_file_is_an_error_until_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    file = JudgementFile(path)
    file.append(TIE)
    away = path.rename(tmp_path / "away")
    for act in (lambda: file.append(DOG), file.refresh, lambda: file.remove(*keys_of(TIE))):
        with pytest.raises(NotSavedError, match=r"j\.jsonl was removed"):
            act()
    assert not path.exists()
    away.rename(path)
    file.append(DOG)
    assert path.read_bytes() == TIE.as_line() + DOG.as_line()


@pytest.mark.parametrize("cut", [1, 8, 40])
def test_half_a_line_of_a_stopped_writer_is_taken_out(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(TIE.as_line() + DOG.as_line()[:cut])
    file = JudgementFile(path)
    file.append(DOG)
    assert path.read_bytes() == TIE.as_line() + DOG.as_line()


def test_a_whole_line_without_its_end_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(TIE.as_line()[:-1])
    JudgementFile(path).append(DOG)
    assert path.read_bytes() == TIE.as_line() + DOG.as_line()


@pytest.mark.parametrize(
    "content",
    [b"my diary", b'{"image": "1", "chosen": "a"}\n', b'{"image": 1, "tied": 3}\n', b"[1]\n", b"\xff\xfe\n"],
    ids=["text", "one caption", "no captions", "a list", "not text"],
)
def test_any_other_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"j\.jsonl, line 1 is no judgement of two captions"):
        JudgementFile(path)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "j.jsonl"):
        with pytest.raises(UserError, match="choose another --output"):
            JudgementFile(path)
