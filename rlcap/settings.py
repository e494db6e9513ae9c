"""Settings in YAML files, read without what they are settings of."""

from pathlib import Path
from typing import Any

import yaml

from rlcap.errors import UserError


def read_settings(path: Path) -> dict[str, Any]:
    """What a YAML file of settings says.

    Raises:
        UserError: if it is missing or holds no settings.
    """
    try:
        with path.open(encoding="utf-8") as file:
            settings = yaml.safe_load(file)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path} holds no settings: write lines such as training: {{steps: 1000}}")
    return settings
