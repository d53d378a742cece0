"""cluster.yaml, and what Ray makes of it."""

import copy
from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

Config = dict[str, Any]


def ask_ray(config: Config) -> Config:
    """What Ray makes of the file, with its AWS defaults for whatever the file leaves out."""
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


NODE_TYPES = pytest.mark.parametrize("node_type", ["head", "worker"])
