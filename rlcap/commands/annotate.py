"""Asks people which of two captions is better."""

import sys
from argparse import ArgumentError
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from rlcap.commands.shared import Parser, logger
from rlcap.errors import UserError


def annotate(arguments: Sequence[str], prog: str = "rlcap annotate") -> None:
    """Judge the captions of runs side by side, in a page of this machine's own."""
    from rlcap.annotation import Choice, Server, prepare_session

    parser = Parser(prog=prog, allow_abbrev=False, description="Show images with two captions and keep what is chosen.")
    parser.add_argument("runs", type=str, nargs="+", help="two or more run folders; the page does not name them")
    parser.add_argument("--output", type=str, default="judgements.jsonl", help="file to make or to go on with")
    parser.add_argument("--split", type=str, default="test", help="folder under evaluation/ whose captions are judged")
    parser.add_argument("--images", type=str | None, default=None, help="folder of the images; default: the runs' own")
    parser.add_argument("--rater", type=str | None, default=None, help="who judges; each rater is asked everything")
    parser.add_argument("--questions", type=int | None, default=None, help="ask so many; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of order and sides")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    config = parser.parse_args(arguments)
    images = Path(config.images) if config.images is not None else None
    choice = Choice(config.split, images, config.seed, config.questions, config.rater)
    folders = [Path(run) for run in config.runs]
    session, found = prepare_session(folders, Path(config.output), choice, partial(images_of_data, prog))
    with Server(session, found, config.port) as server:
        logger.info("open this address in a browser of this machine; Ctrl-C ends")
        sys.stdout.write(f"{server.address}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            server.serve_forever()
        session.close()
    sys.stdout.writelines(f"{line}\n" for line in session.summary)


def images_of_data(prog: str, folder: Path, split: str, ids: Set[str]) -> dict[str, Callable[[], Any]]:
    """What opens images that only the run's data set can make; empty where it cannot be had any more."""
    from rlcap.annotation.runs import data_settings

    settings = data_settings(folder)
    if not settings:
        return {}
    logger.info("looking for %d images in the data set of %s", len(ids), folder)
    from rlcap.data.base import CaptionDataset

    parser = Parser(prog=prog, exit_on_error=False)
    parser.add_argument("--data", type=CaptionDataset)
    try:
        data = parser.instantiate(parser.parse_object({"data": settings})).data
        records = data.records(split.partition("-")[0])  # test-beam3 is the split test, decoded otherwise
    except (ArgumentError, UserError) as error:
        logger.warning("the data set of %s cannot be read: %s", folder, " ".join(str(error).split()))
        return {}
    return {record.image_id: partial(data.open_image, record) for record in records if record.image_id in ids}
