"""A session made of run folders: their captions, what is asked of them, and where the images are found."""

import logging
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from rlcap.annotation.images import Open, images_in, thumbnails_in
from rlcap.annotation.pairs import make_questions
from rlcap.annotation.runs import image_folder, read_captions
from rlcap.annotation.session import Session
from rlcap.annotation.store import JudgementFile
from rlcap.errors import UserError

logger = logging.getLogger(__name__)

MoreImages = Callable[[Path, str, Set[str]], Mapping[str, Open]]
"""What opens these images of a run's split; it may find only some."""


@dataclass(frozen=True)
class Choice:
    """What is judged, and by whom.

    Attributes:
        split: whose captions.
        images: folder of the images; None looks where the runs say.
        seed: of sides and order.
        questions: ask the first so many only; None asks all.
        rater: who judges.
    """

    split: str = "test"
    images: Path | None = None
    seed: int = 0
    questions: int | None = None
    rater: str | None = None

    def __post_init__(self) -> None:
        if self.questions is not None and self.questions < 1:
            raise UserError(f"--questions must be at least 1, got {self.questions}")
        if self.rater is not None and not self.rater.strip():
            raise UserError("--rater is empty: give a name, or leave it out")
        if self.images is not None and not self.images.is_dir():
            raise UserError(f"--images: there is no folder {self.images}")


def prepare_session(
    folders: Sequence[Path], output: Path, choice: Choice, more_images: MoreImages
) -> tuple[Session, dict[str, Open]]:
    """The session, and what opens each image that was found.

    Args:
        folders: run folders.
        output: file of judgements, made or gone on with.
        choice: what is judged.
        more_images: asked, if no folder of images was named, for those that lie in no folder.

    Raises:
        UserError: if a run has no captions, if no two captions differ, or if the file is no file of judgements.
    """
    captions = read_captions(folders, choice.split)
    questions = make_questions(captions, choice.seed)
    if not questions.asked:
        why = "all their captions are the same" if questions.identical else "they share no image"
        raise UserError(f"there is nothing to judge in {', '.join(captions)}: {why}")
    questions = replace(questions, asked=questions.asked[: choice.questions])
    images = find_images(folders, choice, {question.image for question in questions.asked}, more_images)
    session = Session(list(captions), questions, JudgementFile(output), choice.rater, images)
    missing = sum(question.image not in images for question in questions.asked)
    logger.info(
        "%d pairs of captions; judged already: %d; left out as identical: %d; without an image: %d",
        len(questions.asked),
        len(session.judged()),
        questions.identical,
        missing,
    )
    return session, images


def find_images(folders: Sequence[Path], choice: Choice, ids: Set[str], more_images: MoreImages) -> dict[str, Open]:
    """What opens each image: in the folder named, else in the runs' data sets; a thumbnail where there is no other."""
    thumbnails = thumbnails_in([folder / "evaluation" / choice.split / "images" for folder in folders], sorted(ids))
    if choice.images is not None:
        return thumbnails | images_in(choice.images, sorted(ids))
    own: dict[str, Open] = {}
    for place in dict.fromkeys(map(image_folder, folders)):
        if place is not None:
            own |= images_in(place, sorted(ids - own.keys()))
    images = thumbnails | own
    for folder in folders:
        if missing := ids - images.keys():
            images |= more_images(folder, choice.split, missing)
    return images
