"""Who is asked what: tabs, raters, skipping, taking back, and going on in a later session."""

from pathlib import Path
from typing import Any

import pytest
from annotating import lines_of, session_of

from rlcap.annotation.session import Session
from rlcap.annotation.store import JudgedAlreadyError, NotSavedError


def number_of(state: dict[str, Any]) -> int:
    number = state["question"]["number"]
    assert isinstance(number, int)
    return number


def test_answers_become_lines_with_the_runs_behind_the_sides(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    session = session_of(path)
    assert session.questions.identical == 1
    state = session.state("tab")
    assert (state["total"], state["judged"], state["undo"], state["per_minute"]) == (5, 0, None, None)
    for answer in ("left", "right", "tie"):
        shown = state["question"]
        assert not {"old_runs", "runs", "left_runs"} & shown.keys()
        state = session.answer("tab", number_of(state), answer, 2.004)
        row = lines_of(path)[-1]
        assert row["image"] == shown["image"]
        captions = [shown["left"], shown["right"]]
        names = [caption.split()[0] for caption in captions]  # a caption names its run
        if answer == "tie":
            assert (row["tied"], row["runs"]) == (captions, {"tied": [[name] for name in names]})
        else:
            better, worse = (captions, captions[::-1])[answer == "right"]
            assert (row["chosen"], row["rejected"]) == (better, worse)
            assert row["runs"] == {"chosen": [better.split()[0]], "rejected": [worse.split()[0]]}
        assert row["seconds"] == 2.0
    assert (state["judged"], state["per_minute"], state["seconds_left"]) == (3, 30.0, 4.0)


def test_what_was_judged_is_not_asked_in_a_later_session(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    first = session_of(path)
    state = first.state("a")
    asked = [state["question"]]
    state = first.answer("a", number_of(state), "skip", 1.0)
    asked.append(state["question"])
    first.answer("a", number_of(state), "left", 1.0)
    later = session_of(path)
    state = later.state("b")
    assert state["question"] == asked[0]  # what was skipped is asked again
    assert (state["judged"], state["skipped"], state["undo"]) == (1, 0, asked[1]["number"])
    seen = []
    while state["question"]:
        seen.append(number_of(state))
        state = later.answer("b", seen[-1], "tie", 1.0)
    assert asked[1]["number"] not in seen
    assert len(seen) == 4
    assert len(lines_of(path)) == state["judged"] == 5


def test_undo_takes_back_the_last_answer_of_the_tab(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    session = session_of(path)
    first = number_of(session.state("tab"))
    second = number_of(session.answer("tab", first, "left", 1.0))
    third = number_of(session.answer("tab", second, "skip", 1.0))
    before = path.read_bytes()
    state = session.answer("tab", third, "right", 1.0)
    assert state["undo"] == third
    state = session.undo("tab", third)
    assert path.read_bytes() == before
    assert (number_of(state), state["undo"], state["skipped"]) == (third, second, 1)
    state = session.undo("tab", second)  # a skip
    assert (number_of(state), state["undo"], state["skipped"], path.read_bytes()) == (second, first, 0, before)
    state = session.undo("tab", first)
    assert (number_of(state), state["undo"], path.read_bytes()) == (first, None, b"")
    assert session.undo("tab", first)["judged"] == 0  # nothing is left to take back
    assert session.summary[0].startswith("0 judged now; 0 in ")


def test_tabs_are_asked_different_questions_until_none_is_left(tmp_path: Path) -> None:
    session = session_of(tmp_path / "j.jsonl")
    numbers = [number_of(session.state(tab)) for tab in "abcde"]
    assert sorted(numbers) == list(range(5))
    assert [number_of(session.state(tab)) for tab in "abcde"] == numbers  # a reload changes nothing
    shared = number_of(session.state("late"))
    assert shared == 0
    session.answer("late", shared, "left", 1.0)
    with pytest.raises(JudgedAlreadyError, match="in another tab"):
        session.answer("a", shared, "right", 1.0)
    assert number_of(session.state_as_known("a")) != shared
    assert len(lines_of(tmp_path / "j.jsonl")) == 1


def test_each_rater_is_asked_everything(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    ann, bob = session_of(path, rater="ann"), session_of(path, rater="bob")

    def judge_all(session: Session, answer: str) -> None:
        state = session.state("tab")
        while state["question"]:
            state = session.answer("tab", number_of(state), answer, 1.0)

    judge_all(ann, "left")
    judge_all(bob, "tie")
    assert [row["rater"] for row in lines_of(path)] == ["ann"] * 5 + ["bob"] * 5
    ann.state("tab")
    wins = sum(row.get("chosen", "").startswith("new") for row in lines_of(path))
    assert ann.summary[0] == f"5 judged now; 10 in {path}"
    assert ann.summary[1].startswith(f"new over old: {wins} of 5 decided")
    assert ann.summary[1].endswith("5 tied")
    ann.close()
    with pytest.raises(NotSavedError, match="has ended"):
        ann.undo("tab", 0)
    again = session_of(path, rater="ann")
    assert again.state("tab")["question"] is None
