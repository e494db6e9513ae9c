"""How the regions that an image encoder ends in lie in the image."""

import math

from jaxtyping import Float
from torch import Tensor, nn


def grid_of(
    encoder: nn.Module, pixel_values: Float[Tensor, "images channels height width"], regions: int
) -> tuple[int, int]:
    """Rows and columns of the regions; those that are left over, such as a class token, come before them.

    Args:
        encoder: with its configuration: one of equal patches says how large they are.
        pixel_values: what it encoded.
        regions: how many it made of an image. Without patches of that size they are all of the grid, and the grid is
            the one nearest to the shape of the image.
    """
    height, width = pixel_values.shape[-2:]
    side = getattr(encoder.config, "patch_size", None)
    if isinstance(side, int) and 0 < (height // side) * (width // side) <= regions:
        return height // side, width // side
    grids = [(rows, regions // rows) for rows in range(1, regions + 1) if regions % rows == 0]
    return min(grids, key=lambda grid: abs(math.log(grid[0] * width / (grid[1] * height))))
