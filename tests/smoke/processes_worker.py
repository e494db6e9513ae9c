"""Run by several processes at once: ``rlcap train`` with each list of arguments of a JSON file, one after the other.

    RANK=0 LOCAL_RANK=0 WORLD_SIZE=2 MASTER_ADDR=... MASTER_PORT=... python processes_worker.py ddp trainings.json

Starting costs more than a tiny training does, so that one start serves many. All but the main process write files that
anybody may write, which tells who wrote them.
"""

import json
import os
import sys
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import DistributedType

FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "GPT2Block,ViTLayer",
}


def arrange(kind: str, folder: Path) -> None:
    """Make processes on CPUs come together as ``accelerate launch`` would make GPUs."""
    state = PartialState(cpu=True)  # gloo; accelerate then takes its CPU processes for what the environment says
    if kind == "fsdp":
        state._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        os.environ.update(FSDP)
    elif kind.startswith("zero"):
        config = {
            "train_batch_size": "auto",
            "train_micro_batch_size_per_gpu": "auto",
            # tiny weights would stay whole otherwise
            "zero_optimization": {"stage": int(kind[-1]), "stage3_param_persistence_threshold": 0},
        }
        file = folder / f"{kind}.{state.process_index}.json"
        file.write_text(json.dumps(config))
        os.environ.update(ACCELERATE_USE_DEEPSPEED="true", ACCELERATE_DEEPSPEED_CONFIG_FILE=str(file))


if __name__ == "__main__":
    from rlcap.cli import main

    kind, trainings = sys.argv[1], Path(sys.argv[2])
    if os.environ["RANK"] != "0":
        os.umask(0)
    arrange(kind, trainings.parent)
    for arguments in json.loads(trainings.read_text()):
        main(["train", *arguments])
