"""What the transport rewards of a run bring together: the tokens of a caption with a reference's, or with patches."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from rewards.base import Reward
from rewards.patch_transport import PatchTransport
from rewards.transport import Alignment, TokenTransport

DIGITS = 5


def transport_plans(
    rewards: Mapping[str, Reward], caption: str, references: Sequence[str], image: Image.Image
) -> list[dict[str, Any]]:
    """The plan of each reward that has one, as plain JSON: against the image, or against the best of the references."""
    plans = []
    for name, reward in rewards.items():
        if isinstance(reward, PatchTransport):
            alignment = reward.alignment(caption, image)
            assert alignment.grid is not None
            where = {"grid": list(alignment.grid), "box": middle(image.size, alignment.grid)}
            plans.append(_plan(name, alignment, where))
        elif isinstance(reward, TokenTransport) and references:
            aligned = {reference: reward.alignment(caption, reference) for reference in references}
            reference = max(aligned, key=lambda reference: aligned[reference].reward)
            where = {"targets": list(aligned[reference].columns), "reference": reference}
            plans.append(_plan(name, aligned[reference], where))
    return plans


def middle(size: tuple[int, int], grid: tuple[int, int]) -> list[float]:
    """The middle of an image, as wide to its height as the grid: what CLIP's image processor leaves of it."""
    width, height = size[0] / grid[1], size[1] / grid[0]
    across, down = (round(min(width, height) / side / 2, DIGITS) for side in (width, height))
    return [0.5 - across, 0.5 - down, 0.5 + across, 0.5 + down]


def _plan(name: str, alignment: Alignment, where: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "reward": name,
        "tokens": list(alignment.rows),
        **where,
        "plan": np.round(alignment.plan, DIGITS).tolist(),
        "cost": round(float((alignment.plan * alignment.cost).sum()), DIGITS),
    }


def transport_settings(settings: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Those of a run's rewards and metrics, by name, that are transport rewards, unwrapped, as its file names them.

    Args:
        settings: of ``rewards``: terms by name.
        metrics: of ``evaluation.metrics``; one of the same name as a reward, but of other settings, is called so.
    """
    named = {name: term.get("reward") for name, term in settings.items() if isinstance(term, Mapping)}
    found = {name: innermost for name, own in named.items() if (innermost := _transport(own))}
    for name, own in metrics.items():
        innermost = _transport(own)
        if innermost and innermost not in found.values():
            found[name if name not in found else f"{name} (metric)"] = innermost
    return found


def _transport(settings: Any) -> dict[str, Any] | None:
    """The transport reward that settings name, or one within a reward that they name."""
    if not isinstance(settings, Mapping):
        return None
    name = str(settings.get("class_path", "")).rpartition(".")[2]
    if name in (TokenTransport.__name__, PatchTransport.__name__):
        return dict(settings)
    arguments = settings.get("init_args")
    return _transport(arguments.get("reward")) if isinstance(arguments, Mapping) else None
