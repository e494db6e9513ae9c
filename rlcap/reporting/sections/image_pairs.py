"""Two methods image by image: every method against the baseline, and the two best against one another."""

from rlcap.reporting.drawing.scatter import draw_scatter
from rlcap.reporting.image_scores import ImageScores
from rlcap.reporting.material import Material
from rlcap.reporting.page.blocks import Block, Bullets, Figures, Heading, Paragraph

_MOST_PAIRS = 8


def pair_blocks(material: Material, scores: ImageScores) -> list[Block]:
    """The figures with a heading and what they are; empty where no two methods have such scores."""
    means = scores.means
    others = [place for place in means if place != material.baseline]
    pairs = [(material.baseline, place) for place in others] if material.baseline in means else []
    drawn = pairs[:_MOST_PAIRS]
    best = sorted(means, key=lambda place: (-scores.better * float(means[place].mean()), place))[:2]
    if len(best) == 2 and material.baseline not in best:
        drawn = [*drawn, (best[1], best[0])]
    if not drawn:
        return []
    figures = tuple(
        draw_scatter(
            f"scatter-{place:02d}-{first + 1}-{second + 1}",
            scores.metric,
            (first, material.marks[first], means[first]),
            (second, material.marks[second], means[second]),
        )
        for place, (first, second) in enumerate(drawn)
    )
    explanation = (
        f"{scores.metric} of every image, the mean over a method's seeds: a dot for each of "
        f"{len(material.images.image_ids):,} images, above the diagonal where the method on the vertical axis is higher"
        f"{'' if scores.better > 0 else ', which is worse'}. Dashed: the means of both."
    )
    notes = []
    if len(drawn) > len(pairs[:_MOST_PAIRS]):
        notes.append("The last figure has the two best methods.")
    if len(pairs) > _MOST_PAIRS:
        left_out = ", ".join(material.marks[place].label for _, place in pairs[_MOST_PAIRS:])
        notes.append(f"Not drawn against the baseline: {left_out}.")
    return [
        Heading("Image by image"),
        Paragraph(explanation, quiet=True),
        Figures(figures),
        Bullets(tuple(notes), notes=True),
    ]
