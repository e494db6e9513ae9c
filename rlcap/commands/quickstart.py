"""Goes the whole way on synthetic scenes."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rlcap.commands.shared import Parser
from rlcap.commands.train import train

RECIPES = Path(__file__).parents[1] / "quickstart"


def quickstart(arguments: Sequence[str], prog: str = "rlcap quickstart") -> None:
    """Teacher forcing, then self-critical training, on scenes that rlcap draws itself; then the report."""
    from rlcap.reporting import ReportOptions, write_report
    from rlcap.training.run_folder import refuse_overwriting

    parser = Parser(
        prog=prog,
        allow_abbrev=False,
        description="The whole journey on synthetic scenes: under 5 minutes on 2 CPU cores.",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=str, default="quickstart", help="folder to make")
    config = parser.parse_args(arguments)
    output = Path(config.output)
    refuse_overwriting(output)
    teacher, critical = output / "teacher_forcing", output / "self_critical"
    seed = ["--training.seed", str(config.seed)]
    train(["--config", str(RECIPES / "teacher_forcing.yaml"), "--output", str(teacher), *seed], prog)
    start = ["--policy.init_args.directory", str(teacher)]
    train(["--config", str(RECIPES / "self_critical.yaml"), "--output", str(critical), *start, *seed], prog)
    page = write_report([teacher, critical], output / "report", ReportOptions(title="rlcap quick start"))
    before, after = (
        json.loads((run / "evaluation/test/scores.json").read_text())["scores"]["CIDEr-D"]["value"]
        for run in (teacher, critical)
    )
    sys.stdout.write(f"report: {page}\n")
    sys.stdout.write(
        f"CIDEr-D on the test split: {before:.3f} after teacher forcing, {after:.3f} after self-critical training "
        f"({(after - before) / max(before, 1e-9):+.1%})\n"
    )
