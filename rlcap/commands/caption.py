"""Captions photos."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rlcap.commands.shared import Parser
from rlcap.errors import UserError


def caption(arguments: Sequence[str], prog: str = "rlcap caption") -> None:
    """Caption photos."""
    import torch

    from rlcap.config import device_named
    from rlcap.data.base import read_image
    from rlcap.policies import quiet
    from rlcap.policies.base import Decoding, load_policy
    from rlcap.types import Batch, Sampling

    quiet()
    parser = Parser(prog=prog, allow_abbrev=False, description="Caption photos with a trained policy.")
    parser.add_argument("images", type=str, nargs="+", help="photos")
    parser.add_argument("--policy", type=str, required=True, help="run folder, checkpoint or saved policy")
    parser.add_argument("--decoding", type=Decoding, default=Decoding())
    parser.add_argument("--samples", type=int, default=0, help="sampled captions per photo instead of the best one")
    parser.add_argument("--sampling", type=Sampling, default=Sampling())
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    parser.add_argument("--json", action="store_true", help="one JSON object per photo")
    parser.add_argument("--device", type=str, default=None)
    config = parser.instantiate(parser.parse_args(arguments))
    if config.samples < 0:
        raise UserError(f"--samples must be 0 (the best caption) or more, got {config.samples}")
    paths = [Path(image) for image in config.images]
    photos = [read_image(path) for path in paths]
    policy = load_policy(config.policy).to(device_named(config.device)).eval()
    for path, photo in zip(paths, photos, strict=True):
        batch = Batch((path.name,), ((),), pixel_values=policy.process_images([photo])).to(policy.device)
        with torch.no_grad():
            encoded = policy.encode(batch)
            if config.samples:
                captions = policy.generate(
                    encoded,
                    batch.image_ids,
                    samples=config.samples,
                    greedy=False,
                    key=(config.seed,),
                    sampling=config.sampling,
                    max_length=config.decoding.max_length,
                )
            else:
                captions = policy.decode(encoded, batch.image_ids, config.decoding)
        texts = policy.detokenize(captions)
        if config.json:
            sys.stdout.write(json.dumps({"image": str(path), "captions": texts}, ensure_ascii=False) + "\n")
        else:
            sys.stdout.writelines(f"{path}: {text}\n" for text in texts)
