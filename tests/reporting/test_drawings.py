"""Drawings that are kept: the same numbers are drawn once, other numbers and damaged files anew."""

import numpy as np

from rlcap.reporting import write_report
from rlcap.reporting.drawing.kept import Drawings
from rlcap.reporting.options import ReportOptions


def test_equal_parts_are_drawn_once_and_unused_drawings_are_dropped(tmp_path):
    drawn = []

    def draw_of(drawings, *parts):
        return drawings.drawing(parts, lambda: drawn.append(parts) or f"drawing {len(drawn)} √")

    drawings = Drawings(tmp_path / "cache")
    values = np.arange(3.0)
    assert draw_of(drawings, values, "x") == "drawing 1 √"
    assert draw_of(drawings, np.arange(3.0), "x") == "drawing 1 √"
    assert draw_of(drawings, np.arange(3.0) + 1e-9, "x") == "drawing 2 √"
    assert draw_of(drawings, values, "y") == "drawing 3 √"
    assert draw_of(drawings, values, None) == "drawing 4 √"
    later = Drawings(tmp_path / "cache")
    assert draw_of(later, values, "y") == "drawing 3 √"
    later.drop_unused()
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert draw_of(Drawings(), values, "y") == "drawing 5 √"  # keeps nothing


def test_a_report_written_again_draws_nothing_anew_but_what_is_damaged(make_seed, tmp_path):
    rows = [{"step": step, "reward/x": step, "captions": 5 * step} for step in range(1, 4)]
    run, options = make_seed("a", 0, [1.0], rows=rows, seconds=[1.0] * 3), ReportOptions(resamples=100)
    page = write_report([run], tmp_path / "out", options)
    first = page.read_bytes()
    kept = sorted((tmp_path / "out" / ".cache").glob("drawing-*.svg"))
    assert len(kept) == 3  # an axis each
    written = [path.stat().st_ino for path in kept]  # another file where it was written anew
    kept[0].write_text("<script>", encoding="utf-8")
    assert write_report([run], tmp_path / "out", options).read_bytes() == first
    after = [path.stat().st_ino for path in kept]
    assert after[1:] == written[1:]
    assert after[0] != written[0]
    assert b"<script>" not in kept[0].read_bytes()
