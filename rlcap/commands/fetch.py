"""Fetches what the package may not carry."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rlcap.commands.shared import Parser, logger


def fetch(arguments: Sequence[str], prog: str = "rlcap fetch") -> None:
    """Fetch what the package may not carry: the parser of SPICE."""
    from tqdm import tqdm

    from rewards.java.fetch import ARCHIVE, copy_corenlp, download_corenlp
    from rewards.spice import fetched, places_of_corenlp

    parser = Parser(prog=prog, allow_abbrev=False, description="Fetch the parser of SPICE, Stanford CoreNLP 3.6.0.")
    parser.add_argument("what", type=Literal["spice"], help="what is fetched")
    parser.add_argument("--jars", type=str, default=None, help="folder to copy the jars from, instead of a download")
    parser.add_argument("--output", type=str, default=None, help="folder to write; default: where SPICE looks last")
    config = parser.parse_args(arguments)
    folder = Path(config.output or fetched())
    if config.jars:
        made = copy_corenlp(Path(config.jars), folder)
    else:
        logger.info("from %s into %s", ARCHIVE, folder)
        bars: dict[str, Any] = {}

        def show(file: str, have: int, total: int) -> None:
            if file not in bars:
                bars[file] = tqdm(desc=file, total=total, initial=have, unit="B", unit_scale=True, dynamic_ncols=True)
            bars[file].update(have - bars[file].n)

        try:
            made = download_corenlp(folder, show)
        finally:
            for bar in bars.values():
                bar.close()
    sys.stdout.writelines(f"{path}\n" for path in made)
    places = places_of_corenlp()
    if folder.resolve() not in [place.resolve() for place in places]:
        logger.info("SPICE looks in %s: set RLCAP_SPICE to %s", ", ".join(map(str, places)), folder.resolve())
