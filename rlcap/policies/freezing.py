"""Parts of a model that do not learn: those chosen by name, and those that no gradient would reach."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from itertools import accumulate

import torch
from torch import Tensor, nn

from rlcap.errors import UserError
from rlcap.models import Model


def freeze(model: Model, patterns: Sequence[str]) -> None:
    """Stop the parameters that the patterns name from learning; those of a module where they name one.

    A pattern is compared with whole names, as of files: ``*`` stands for any characters, dots too, so ``encoder`` is
    the module of that name, ``*.bias`` every bias, ``decoder.transformer.h.[01]`` the first two blocks.

    Raises:
        UserError: if a pattern names nothing.
    """
    parameters = list(model.named_parameters(remove_duplicate=False))  # tied weights go by both their names
    for pattern in patterns:
        chosen = [parameter for name, parameter in parameters if _names(pattern, name)]
        if not chosen:
            raise UserError(
                f"training.freeze names {pattern!r}, but no parameter or module of the model is called so; there are "
                f"{some_names(name for name, _ in parameters)}"
            )
        for parameter in chosen:
            parameter.requires_grad_(False)


def _names(pattern: str, name: str) -> bool:
    """Whether a pattern is of a parameter, or of a module that it is in."""
    return any(fnmatchcase(part, pattern) for part in accumulate(name.split("."), "{}.{}".format))


def some_names(names: Iterable[str], count: int = 8) -> str:
    """A few of many names, spread over all of them; what differs in a number alone is told once, as a pattern."""
    kinds = list(dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name) for name in names))
    shown = [kinds[number * len(kinds) // count] for number in range(count)] if len(kinds) > count else kinds
    return ", ".join(shown)


def depended_on(output: Tensor, module: nn.Module) -> set[int]:
    """The ``id`` of each parameter of a module that learns and that the output depends on; its graph is kept."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not learning:
        return set()
    gradients = torch.autograd.grad(output.sum(), learning, retain_graph=True, allow_unused=True)
    return {id(parameter) for parameter, found in zip(learning, gradients, strict=True) if found is not None}


def freeze_unreached(output: Tensor, module: nn.Module) -> None:
    """Stop those parameters of a module from learning that an output does not depend on, such as an output layer's.

    Data-parallel training waits for the gradient of every parameter that learns, so none may be without.
    """
    reached = depended_on(output, module)
    for parameter in module.parameters():
        parameter.requires_grad_(id(parameter) in reached)
