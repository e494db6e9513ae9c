"""Works adapters into weights."""

from collections.abc import Sequence
from pathlib import Path

from rlcap.commands.shared import Parser
from rlcap.errors import UserError


def merge(arguments: Sequence[str], prog: str = "rlcap merge") -> None:
    """Work a policy's adapters into its weights."""
    from rlcap.evaluation.place import refuse_overwriting
    from rlcap.policies import quiet
    from rlcap.policies.base import load_policy

    quiet()
    parser = Parser(prog=prog, allow_abbrev=False, description="Save a policy with its adapters merged in its weights.")
    parser.add_argument("policy", type=str, help="run folder, checkpoint or saved policy")
    parser.add_argument("--output", type=str, required=True, help="folder to make")
    config = parser.parse_args(arguments)
    policy, output = load_policy(config.policy), Path(config.output)
    if not policy.adapted:
        raise UserError(f"the policy of {config.policy} has no adapters to merge")
    refuse_overwriting(output)
    policy.merge().save(output)
