"""The scores of methods within each group of images, and which of their differences hold there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rlcap.reporting.columns import Column
from rlcap.reporting.image_groups import Breakdown
from rlcap.reporting.image_scores import ImageScores
from rlcap.reporting.material import Material
from rlcap.reporting.statistics.correction import holm
from rlcap.reporting.statistics.resampling import (
    image_resamples,
    interquartile_statistic,
    mean_statistic,
    resampled_runs,
)


@dataclass(frozen=True)
class GroupScores:
    """A metric in each group of a breakdown.

    Attributes:
        columns: the numbers of each group.
        corrected: the p-values of a group's differences from the baseline, corrected over the groups, by method.
    """

    columns: tuple[Column, ...]
    corrected: tuple[Mapping[int, float | None], ...]

    def holds(self, group: int, place: int) -> bool:
        """Whether a method's difference from the baseline holds in a group."""
        p = self.corrected[group][place]
        return p is not None and p < self.columns[group].options.alpha


def score_groups(material: Material, breakdown: Breakdown, scores: Sequence[ImageScores]) -> tuple[GroupScores, ...]:
    """Each metric in each group: all metrics and methods of a group on the same resamples of its images."""
    options = material.options
    statistic = mean_statistic if options.aggregate == "mean" else interquartile_statistic
    found: list[list[Column]] = [[] for _ in scores]
    for group in breakdown.groups:
        rows = [(place, seeds[:, group.images]) for each in scores for place, seeds in each.of_method.items()]
        blocks = image_resamples(len(group.images), options.resamples, options.seed)
        resampled = resampled_runs([statistic(np.concatenate([seeds for _, seeds in rows]))], blocks)[0]
        parts = iter(resampled.split([len(seeds) for _, seeds in rows]))
        for columns, each in zip(found, scores, strict=True):
            runs = {place: next(parts) for place in each.of_method}
            of_methods = tuple(runs.get(place) for place in range(len(material.methods)))
            columns.append(
                Column(
                    each.metric, each.signature, each.better, len(group.images), of_methods, material.baseline, options
                )
            )
    return tuple(GroupScores(tuple(columns), _corrected(columns)) for columns in found)


def _corrected(columns: Sequence[Column]) -> tuple[dict[int, float | None], ...]:
    """The p-values by group and method; those of one method share one chance of a false alarm."""
    corrected: tuple[dict[int, float | None], ...] = tuple({} for _ in columns)
    for place in range(len(columns[0].runs)):
        p_values = [column.p_values[place] for column in columns]
        of_method = p_values if columns[0].options.correction == "none" else holm(p_values)
        for of_group, p in zip(corrected, of_method, strict=True):
            of_group[place] = p
    return corrected
