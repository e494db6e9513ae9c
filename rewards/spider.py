"""SPIDEr: CIDEr-D for fluency and SPICE for meaning, half of each. Liu et al. 2017, section 3.1."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from rewards.base import Candidates, Pending, Reward, RewardError, Signature
from rewards.cider import CiderD
from rewards.spice import Spice


class Spider(Reward):
    """Mean of CIDEr-D and of a measure of meaning; it is called SPIDEr only where that is SPICE itself.

    As everywhere here, CIDEr-D is ten times the cosine, and so outweighs SPICE, which is 1 at most.

    Args:
        semantic: the measure of meaning; None is SPICE.
        cider: the n-gram part; None is ``CiderD()``, which takes its document frequencies from the training references.
    """

    needs_references = True

    def __init__(self, semantic: Reward | None = None, cider: CiderD | None = None) -> None:
        self.semantic = Spice() if semantic is None else semantic
        self.cider = CiderD() if cider is None else cider
        if isinstance(self.semantic, CiderD):
            raise RewardError("Spider adds a measure of meaning to CIDEr-D, and got CIDEr-D again: give another reward")
        self.needs_images = self.semantic.needs_images
        self.independent = self.semantic.independent and self.cider.independent
        self.background = self.semantic.background
        self.sums = self.semantic.sums

    @property
    def signature(self) -> Signature:
        """Both signatures."""
        return self._signature(self.cider.signature, self.semantic.signature)

    def signature_of(self, candidates: Candidates) -> Signature:
        """Both signatures for these captions."""
        return self._signature(self.cider.signature_of(candidates), self.semantic.signature_of(candidates))

    def _signature(self, cider: Signature, semantic: Signature) -> Signature:
        official = isinstance(self.semantic, Spice) and self.semantic.category == "All"
        name = "SPIDEr" if official else f"{cider.name}+{semantic.name}"
        return Signature(name, {"cider": f"0.5*({cider})", "semantic": f"0.5*({semantic})"})

    def begin(self, candidates: Candidates) -> Pending:
        """Start both parts; what comes back waits for them."""
        semantic = self.semantic.begin(candidates)  # first: it may go on by itself while CIDEr-D is computed here
        cider = self.cider.begin(candidates)

        def finish() -> Float64[np.ndarray, " captions"]:
            mean: Float64[np.ndarray, " captions"] = (cider() + semantic()) / 2
            return mean

        return finish

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """The mean of both parts for each caption."""
        return self.begin(candidates)()

    # --- over a run

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Let both parts take in the training references."""
        self.semantic.prepare(references)
        self.cider.prepare(references)

    def check_prepared(self) -> None:
        self.semantic.check_prepared()
        self.cider.check_prepared()

    def to(self, device: str) -> None:
        self.semantic.to(device)
        self.cider.to(device)

    def close(self) -> None:
        self.semantic.close()
        self.cider.close()

    def seen(self) -> Float64[np.ndarray, " sums"]:
        return self.semantic.seen()

    def learned(self, sums: Float64[np.ndarray, " sums"]) -> None:
        self.semantic.learned(sums)

    def state(self) -> dict[str, Any]:
        return self.semantic.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.semantic.load_state(state)
