"""The records of a run, one JSON object per line.

``metrics.jsonl`` follows from the configuration and the seed alone, byte for byte on one machine; wall-clock times
and memory, the main process's, stand apart in ``timings.jsonl``.

| key | meaning |
|---|---|
| step, epoch, images, captions | optimizer steps taken; epoch from 0; images seen and captions decoded so far |
| reward/<name> | mean raw, unweighted reward of the sampled captions, never the advantage |
| reward/<name>/failed | share of captions for which a term failed that may: ``on_failure`` is zero or skip |
| reward/sampled, reward/greedy | mean weighted reward of the sampled and of the greedy captions |
| reward/penalized | reward/sampled less the KL penalty, if there is one |
| advantage/std | standard deviation of the advantages of the step |
| loss/policy | the loss of the advantage-weighted log-likelihood, or of the references |
| loss/value, loss/teacher_forcing | the critic's loss; the weighted cross-entropy mixed in |
| preference/accuracy, preference/margin | share of comparisons that (implicit) rewards order as people did; margin |
| preference/chosen, preference/rejected | mean implicit reward of the preferred and of the other captions |
| matching/classified | share of true captions whose score is above 0 and of false ones whose score is not |
| loss/image_to_text, loss/text_to_image | contrastive loss of images that look for captions, and of captions |
| contrastive/image_to_text_accuracy | share of images whose most similar text of the step is their caption |
| contrastive/text_to_image_accuracy | share of captions whose most similar image of the step is their own |
| contrastive/hard_negative_accuracy | share of corrupted captions less similar to the image than theirs |
| contrastive/temperature | what cosines are divided by |
| critic/explained_variance | 1 - variance of (return - value) / variance of return, over tokens |
| updates | optimizer steps made of the step's rollouts |
| policy/entropy | mean entropy in nats of the next-word distribution along the sampled captions |
| policy/kl | nats per caption that the policy has moved since the run started, every ``kl_every`` steps (1) |
| policy/kl_penalized | an estimate of it (k3) at the temperature of sampling, where there is a KL penalty |
| policy/approx_kl | nats per token (k3) that the policy has moved since it drew the captions |
| policy/ratio, policy/clip_fraction | mean probability ratio to the policy that drew them; share of ratios clipped |
| policy/top1_mass | mean probability of the most probable next word there |
| caption/length | mean tokens per caption, EOS included |
| caption/bad_ending_rate | share of sampled captions that end in a word such as "a" or "with" |
| gradient/norm | norm of the gradient before clipping |
| gradient/variance, gradient/mean_square | noise of the gradient, see ``rlcap.training.variance`` |
| learning_rate | of the first parameter group |
| <split>/<metric>, <split>/<statistic> | a measurement on a held-out split, in a line of its own |
| time/data, time/rollout, time/update | seconds spent waiting for images, acting (rewards included), learning |
| time/encode, time/decode | of acting: seconds in the image encoder, and in generation; on CUDA the device's (2) |
| time/reward, time/step | seconds spent scoring or waiting for scores, and in the whole step |
| time/evaluate | seconds that a measurement on the validation split took, in a line of its own |
| memory/peak | most bytes of tensors on the CUDA device so far; without one, most bytes resident of the process |

A mean over nothing, such as an accuracy in a step without a pair, is left out of its line.

(1) The exact divergence of the next-word distributions at temperature 1, summed along each sampled caption.

(2) Both 0 where acting does neither, as in teacher forcing. An encoder that learns may run again while learning, which
is not counted here. With ``overlap_rewards`` a step's captions are usually drawn during the step before, in whose line
their times are.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

ELSEWHERE = ("time/", "memory/")
"""What the names of values begin with that differ between equal runs."""


class Recorder:
    """Appends to the records of a run folder.

    Args:
        folder: the run folder.
        resumed_at: the step a run continues after; later lines, of steps that are taken again, are dropped.
    """

    def __init__(self, folder: Path, resumed_at: int = 0) -> None:
        self._files = {}
        for name in ("metrics", "timings"):
            path = folder / f"{name}.jsonl"
            if path.exists():
                _keep_until(path, resumed_at)
            self._files[name] = path.open("a", encoding="utf-8")

    def write(self, values: Mapping[str, int | float]) -> None:
        """One line of metrics; what is named ``time/...`` or ``memory/...`` goes to the timings."""
        timings = {key: value for key, value in values.items() if key.startswith(ELSEWHERE)}
        metrics = {key: value for key, value in values.items() if key not in timings}
        self._append("metrics", metrics)
        if timings:
            self._append("timings", {"step": values["step"], **timings})

    def _append(self, name: str, values: Mapping[str, int | float]) -> None:
        finite = {
            key: value if isinstance(value, int) or math.isfinite(value) else str(value)
            for key, value in values.items()
        }
        self._files[name].write(json.dumps(finite) + "\n")
        self._files[name].flush()

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()


def _keep_until(path: Path, step: int) -> None:
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n") or json.loads(line)["step"] > step:
            break
        kept.append(line)
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text("".join(kept), encoding="utf-8")
    aside.replace(path)
