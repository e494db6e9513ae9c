"""Tables as CSV: what spreadsheets would run is text, numbers are numbers, every text is on one line."""

import csv
import io

from rlcap.reporting.page.csv_text import csv_of


def test_formulas_are_text_and_numbers_keep_every_digit():
    names = ("=1+1", '@SUM("x")', "+a", "-a", " =a", "a=b", "−1")
    values = (-0.1 - 0.2, 1e-300, None, 3)
    rows = list(csv.reader(io.StringIO(csv_of([*names[:4]], [[name, *values[:3]] for name in names]))))
    assert rows[0] == ["'=1+1", '\'@SUM("x")', "'+a", "'-a"]
    assert [row[0] for row in rows[1:]] == [*rows[0], "' =a", "a=b", "−1"]
    assert [float(text) for text in rows[1][1:3]] == [values[0], values[1]]
    assert {row[3] for row in rows[1:]} == {""}


def test_a_row_is_a_line_whatever_its_texts_hold():
    evil = 'a\r\nb\u2028"c",d\x00\ud800\u202e'
    text = csv_of(["x", "y"], [[evil, 1]])
    text.encode()
    assert len(text.splitlines()) == 2
    assert next(csv.DictReader(io.StringIO(text))) == {"x": 'a  b "c",d���', "y": "1"}
