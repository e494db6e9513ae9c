"""Who is asked what, and what becomes of the answers; knows nothing of HTTP."""

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rlcap.annotation.pairs import Question, Questions
from rlcap.annotation.store import Judgement, JudgementFile, NotSavedError
from rlcap.annotation.summary import seconds_each, win_rates

ANSWERS = ("left", "right", "tie", "skip")


class Session:
    """One rater's questions, shared by the tabs that ask them.

    A tab keeps its question until it is answered, and other tabs are asked other ones. Skipped questions are not asked
    again before the next session.

    Args:
        runs: names of the runs, in their order.
        questions: what there is to ask.
        file: where judgements go.
        rater: who judges, if named.
        pictured: ids of the images that can be shown.
    """

    def __init__(
        self,
        runs: Sequence[str],
        questions: Questions,
        file: JudgementFile,
        rater: str | None = None,
        pictured: Collection[str] = (),
    ) -> None:
        self.runs = tuple(runs)
        self.questions = questions
        self.file = file
        self.rater = rater
        self.pictured = frozenset(pictured)
        self._now: set[int] = set()  # judged in this session
        self._numbers = {question.key: number for number, question in enumerate(questions.asked)}
        self._skipped: set[int] = set()
        self._asked: dict[str, int] = {}  # by tab
        self._acts: dict[str, list[int]] = {}  # by tab: what it answered, the latest last
        self._ended = False
        self._lock = threading.Lock()

    def state(self, tab: str) -> dict[str, Any]:
        """What a tab shows: its question, how far the rater is, and which answer it could take back."""
        with self._lock:
            self.file.refresh()
            return self._state(tab)

    def state_as_known(self, tab: str) -> dict[str, Any]:
        """The same where the file cannot be read: as far as it was known before."""
        with self._lock:
            return self._state(tab)

    def answer(self, tab: str, number: int, answer: str, seconds: float) -> dict[str, Any]:
        """Take an answer to a question; the state after it.

        Raises:
            NotSavedError: if it is not in the file; nothing has changed then.
        """
        with self._lock:
            self._refuse_when_ended()
            question = self.questions.asked[number]
            if answer == "skip":
                self._skipped.add(number)
            else:
                self.file.append(self._judgement(question, answer, seconds))
                self._skipped.discard(number)
                self._now.add(number)
            self._acts.setdefault(tab, []).append(number)
            return self._state(tab)

    def undo(self, tab: str, number: int) -> dict[str, Any]:
        """Take back the answer to a question, which the tab is then asked again; the state after it.

        Raises:
            NotSavedError: if the file could not be changed; nothing has changed then.
        """
        with self._lock:
            self._refuse_when_ended()
            if number in self._skipped:
                self._skipped.discard(number)
            elif self.file.remove(self.rater, self.questions.asked[number].key) is not None:
                self._now.discard(number)
            acts = self._acts.get(tab, [])
            if number in acts:
                acts.reverse()
                acts.remove(number)
                acts.reverse()
            if self._open(number):
                self._asked[tab] = number
            return self._state(tab)

    def close(self) -> None:
        """Let a judgement that is being written be written; what comes later is refused."""
        with self._lock:
            self._ended = True

    @property
    def summary(self) -> list[str]:
        """How many were judged, and how often each run won, a line each."""
        rates = win_rates(self.runs, self.questions.asked, self.file.judgements.values())
        total = len(self.file.judgements)
        return [
            f"{len(self._now)} judged now; {total} in {self.file.path}",
            *map(str, rates),
        ]

    def judged(self) -> dict[int, Judgement]:
        """The rater's judgements of these questions by number, in the order of the file."""
        return {
            self._numbers[key]: judgement
            for (rater, key), judgement in self.file.judgements.items()
            if rater == self.rater and key in self._numbers
        }

    def _refuse_when_ended(self) -> None:
        if self._ended:
            raise NotSavedError("rlcap annotate has ended, so nothing is saved: start it again")

    def _judgement(self, question: Question, answer: str, seconds: float) -> Judgement:
        captions, runs = (question.left, question.right), (question.left_runs, question.right_runs)
        if answer == "right":
            captions, runs = captions[::-1], runs[::-1]
        return Judgement(question.image, *captions, answer == "tie", runs, round(seconds, 2), self.rater)

    def _open(self, number: int) -> bool:
        return (
            number not in self._skipped and (self.rater, self.questions.asked[number].key) not in self.file.judgements
        )

    def _next(self, tab: str) -> int | None:
        """The tab's own question; else the first that no tab has; else one that another tab left lying."""
        own = self._asked.get(tab)
        if own is not None and self._open(own):
            return own
        taken = set(self._asked.values()) - {own}
        waiting = [number for number in range(len(self.questions.asked)) if self._open(number)]
        return next((number for number in waiting if number not in taken), next(iter(waiting), None))

    def _state(self, tab: str) -> dict[str, Any]:
        number = self._next(tab)
        if number is None:
            self._asked.pop(tab, None)
        else:
            self._asked[tab] = number
        judged = self.judged()
        answered = {**dict.fromkeys(judged), **dict.fromkeys(self._skipped)}
        last = [own for own in self._acts.get(tab, []) if own in answered] or list(judged)
        each = seconds_each([judgement.seconds for judgement in judged.values()])
        total = len(self.questions.asked)
        left = total - len(judged) - len(self._skipped)
        return {
            "question": None if number is None else self._shown(number),
            "judged": len(judged),
            "skipped": len(self._skipped),
            "total": total,
            "per_minute": None if each is None else 60 / each,
            "seconds_left": None if each is None else each * left,
            "undo": last[-1] if last else None,
            "file": self.file.path.name,
        }

    def _shown(self, number: int) -> Mapping[str, Any]:
        """What the page learns of a question; not the runs."""
        question = self.questions.asked[number]
        return {
            "number": number,
            "image": question.image,
            "pictured": question.image in self.pictured,
            "left": question.left,
            "right": question.right,
        }
