"""Win rates against hand-counted judgements, and their interval against scipy."""

import pytest
from scipy.stats import binomtest

from rlcap.annotation.pairs import make_questions
from rlcap.annotation.store import Judgement
from rlcap.annotation.summary import WinRate, seconds_each, wilson_interval, win_rates


@pytest.mark.parametrize(("wins", "trials"), [(0, 1), (1, 1), (8, 10), (50, 100), (3, 7), (0, 40)])
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_the_interval_is_wilsons(wins: int, trials: int, confidence: float) -> None:
    expected = binomtest(wins, trials).proportion_ci(confidence, method="wilson")
    low, high = wilson_interval(wins, trials, confidence)
    assert (low, high) == (pytest.approx(expected.low, abs=1e-12), pytest.approx(expected.high, abs=1e-12))


def test_an_interval_of_nothing_is_refused() -> None:
    for wins, trials in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="a proportion needs"):
            wilson_interval(wins, trials)


def test_wins_are_counted_for_every_run_that_says_the_same() -> None:
    captions = {
        "old": {"1": "a", "2": "a", "3": "a", "4": "a"},
        "new": {"1": "b", "2": "b", "3": "b", "4": "b"},
        "other": {"1": "b", "2": "a", "3": "c", "4": "b"},
    }
    judgements = [
        Judgement("1", "b", "a", False, rater="ann"),  # new and other over old
        Judgement("1", "a ", "b", False, rater="bob"),  # old over new and other
        Judgement("2", "b", "a", False),  # new over old and other
        Judgement("3", "c", "b", False),  # other over new
        Judgement("3", "a", "b", True),  # old and new tied
        Judgement("4", "b", "a", False),  # new and other over old
        Judgement("4", "never", "said", False),
        Judgement("9", "a", "b", False),
    ]
    rates = win_rates(list(captions), make_questions(captions, 0).asked, judgements)
    assert rates == (
        WinRate("new", "old", wins=3, losses=1, ties=1),
        WinRate("other", "old", wins=2, losses=1, ties=0),
        WinRate("other", "new", wins=1, losses=1, ties=0),
    )
    assert str(rates[0]) == "new over old: 3 of 4 decided, 75.0% [30.1%, 95.4%], 1 tied"
    assert str(WinRate("a", "b", 0, 0, 2)) == "a over b: none decided, 2 tied"


def test_the_pace_is_that_of_the_last_twenty() -> None:
    assert seconds_each([]) is None
    assert seconds_each([None, 0.0]) is None
    assert seconds_each([2.0, None, 4.0]) == 3.0
    assert seconds_each([1000.0, *[5.0] * 20]) == 5.0
