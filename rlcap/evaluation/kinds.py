"""Which models are measured by what."""

from rlcap.data.base import CaptionDataset
from rlcap.errors import UserError
from rlcap.evaluation.evaluate import EvaluationOptions
from rlcap.evaluation.judging import Judging
from rlcap.evaluation.measurement import Captioning, Measurement
from rlcap.evaluation.searching import Searching
from rlcap.models import Model
from rlcap.policies.base import Policy
from rlcap.reward_models.base import RewardModel
from rlcap.reward_models.dual_encoder import DualEncoder

MEASUREMENTS: dict[type[Model], type[Measurement]] = {
    Policy: Captioning,
    DualEncoder: Searching,
    RewardModel: Judging,
}
"""What the models of a class are measured by; the first class that fits."""


def measurement_of(model: Model, options: EvaluationOptions, dataset: CaptionDataset) -> Measurement:
    """How a model is measured, by what it is.

    Raises:
        UserError: if nobody knows, or the options name as best what there will be none of.
    """
    for kind, measurement in MEASUREMENTS.items():
        if isinstance(model, kind):
            made = measurement(model, options, dataset)
            if options.best is not None:
                made.check_best(made.names)
            return made
    raise UserError(f"nobody knows how to measure a {type(model).__name__}: it is no captioner and no reward model")
