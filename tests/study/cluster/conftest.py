"""cluster.yaml as a fresh tree for every test."""

import json

import pytest
import yaml

from tests import ROOT
from tests.study.cluster.cluster_yaml import Config


@pytest.fixture
def config() -> Config:
    # Through JSON: head and worker share YAML's anchors, and a typo planted in one must not appear in the other.
    return json.loads(json.dumps(yaml.safe_load((ROOT / "cluster.yaml").read_text())))
