"""cluster.yaml, checked without a network: by Ray, by EC2's service model, by `ray start`'s own options and by bash.

No layer sees the whole file. Ray's schema stops at `provider` and `node_config`, the service model knows nothing of Ray, and
both take commands for plain strings. So each layer has typos planted that it must catch, and each safety fact a change that
must break it.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import ray.autoscaler
import yaml
from botocore.loaders import Loader
from botocore.model import ListShape, ServiceModel, Shape, StructureShape
from botocore.validate import ParamValidator
from jsonschema import ValidationError
from ray.scripts.scripts import start

from tests import ROOT
from tests.study.cluster.cluster_yaml import NODE_TYPES, Config, ask_ray

RAY_SCHEMA = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())

RUN_INSTANCES = ServiceModel(Loader().load_service_model("ec2", "service-2")).operation_model("RunInstances").input_shape

COMMANDS = [
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
]


def unknown_provider_keys(config: Config) -> set[str]:
    return set(config["provider"]) - set(RAY_SCHEMA["properties"]["provider"]["properties"])


def request(config: Config, node_type: str) -> Config:
    """The parameters of RunInstances, as AWSNodeProvider._create_node makes them from a node_config."""
    node_config = dict(config["available_node_types"][node_type]["node_config"])
    (subnet, *_) = node_config.pop("SubnetIds")
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "ray-cluster-name", "Value": config["cluster_name"]}]}]
    return node_config | {"SubnetId": subnet, "MinCount": 1, "MaxCount": 1, "TagSpecifications": tags}


def ask_botocore(config: Config, node_type: str) -> str:
    return ParamValidator().validate(request(config, node_type), RUN_INSTANCES).generate_report()


def values_unknown_to_ec2(value: Any, shape: Shape = RUN_INSTANCES) -> Iterator[Any]:
    """ParamValidator lets any string pass where the service model lists the few that EC2 takes."""
    if isinstance(shape, StructureShape):
        for name in value.keys() & shape.members.keys():
            yield from values_unknown_to_ec2(value[name], shape.members[name])
    elif isinstance(shape, ListShape):
        for item in value:
            yield from values_unknown_to_ec2(item, shape.member)
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield value


def ray_start(config: Config, who: str) -> tuple[str, Config]:
    """The environment and the options of the one `ray start` of head or worker, read by Ray's own command line."""
    (found,) = (m for c in config[f"{who}_start_ray_commands"] if (m := re.search(r"((?:\w+=\S+ )*)ray start (.*)", c)))
    return found[1], start.make_context("start", shlex.split(found[2])).params


def ask_bash(command: str) -> None:
    subprocess.run(["bash", "-n", "-c", command], check=True, capture_output=True)


def test_ray_accepts_the_file(config: Config):
    assert set(ask_ray(config)["available_node_types"]) == {"head", "worker"}
    assert not unknown_provider_keys(config)


@NODE_TYPES
def test_ec2_would_accept_the_request(config: Config, node_type: str):
    assert ask_botocore(config, node_type) == ""
    assert list(values_unknown_to_ec2(request(config, node_type))) == []


@NODE_TYPES
def test_ray_start_knows_every_option(config: Config, node_type: str):
    assert ray_start(config, node_type)[1]


@pytest.mark.parametrize("key", COMMANDS)
def test_bash_can_read_every_command(config: Config, key: str):
    for command in config[key]:
        ask_bash(command)


# ---- A typo is caught by the layer that is there for it. ----


def plant(config: Config, path: str, value: Any) -> None:
    """Set `a/b/c`; in this order, so that the parents must exist and a renamed section cannot make a control pass."""
    *parents, last = path.split("/")
    for key in parents:
        config = config[key]
    config[last] = value


HEAD, WORKER = "available_node_types/head", "available_node_types/worker"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        pytest.param("max_worker", 4, "'max_worker' was unexpected", id="top-level"),
        pytest.param("auth/ssh_usr", "ubuntu", "'ssh_usr' was unexpected", id="auth"),
        pytest.param(f"{WORKER}/min_worker", 0, "'min_worker' was unexpected", id="node-type"),
        pytest.param(f"{WORKER}/resources/GPU", 0.5, "0.5 is not of type 'integer'", id="resources"),
        pytest.param("head_node_type", "haed", "must be one of", id="head-node-type"),
    ],
)
def test_ray_catches(config: Config, path: str, value: Any, message: str):
    plant(config, path, value)
    with pytest.raises((ValueError, ValidationError), match=message):
        ask_ray(config)


def test_schema_of_provider_catches(config: Config):
    plant(config, "provider/cache_stoped_nodes", False)
    ask_ray(config)  # Ray alone would not notice
    assert unknown_provider_keys(config) == {"cache_stoped_nodes"}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        pytest.param("InstanceMarketOption", {}, 'Unknown parameter in input: "InstanceMarketOption"', id="name"),
        pytest.param("MetadataOptions/HttpToken", "required", '"HttpToken"', id="nested-name"),
        pytest.param("IamInstanceProfile", "worker", "Invalid type for parameter IamInstanceProfile", id="type"),
        pytest.param("SecurityGroupIds", "sg-0", "Invalid type for parameter SecurityGroupIds", id="no-list"),
    ],
)
@NODE_TYPES
def test_botocore_catches(config: Config, node_type: str, path: str, value: Any, message: str):
    plant(config, f"available_node_types/{node_type}/node_config/{path}", value)
    ask_ray(config)  # Ray alone would not notice
    assert message in ask_botocore(config, node_type)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("InstanceType", "g6.xlrage", id="instance-type"),
        pytest.param("InstanceMarketOptions/MarketType", "sopt", id="market"),
        pytest.param("MetadataOptions/HttpTokens", "requried", id="imds"),
    ],
)
def test_ec2_values_catch(config: Config, path: str, value: str):
    plant(config, f"{WORKER}/node_config/{path}", value)
    assert list(values_unknown_to_ec2(request(config, "worker"))) == [value]


def test_ray_start_catches(config: Config):
    config["head_start_ray_commands"] = [c.replace("--dashboard", "--dashbord") for c in config["head_start_ray_commands"]]
    ask_ray(config)  # the autoscaler takes commands as they are
    with pytest.raises(click.NoSuchOption, match="--dashbord-host"):
        ray_start(config, "head")


def test_bash_catches():
    with pytest.raises(subprocess.CalledProcessError):
        ask_bash("(test -x ~/venv/bin/python || true")


# ---- Safety facts. Read after Ray has filled in its defaults: what the file leaves out is what goes wrong. ----


def node_configs(config: Config) -> list[Config]:
    return [node_type["node_config"] for node_type in config["available_node_types"].values()]


def dashboard_is_on_loopback(config: Config) -> bool:
    return ray_start(config, "head")[1]["dashboard_host"] == "127.0.0.1"


def head_asks_for_the_token(config: Config) -> bool:
    return "RAY_AUTH_MODE=token " in ray_start(config, "head")[0]


def workers_ask_for_the_token(config: Config) -> bool:
    return "RAY_AUTH_MODE=token " in ray_start(config, "worker")[0]


def token_reaches_the_nodes(config: Config) -> bool:
    return config["file_mounts"].get("~/.ray/auth_token") == "~/.ray/auth_token"


def nothing_is_sent_to_ray(config: Config) -> bool:
    return ray_start(config, "head")[1]["disable_usage_stats"]


def security_groups_are_ours(config: Config) -> bool:
    # Where a node type has none, Ray makes a group with port 22 open to everyone; `IpPermissions` would only add to it.
    return all(n.get("SecurityGroupIds") for n in node_configs(config)) and "security_group" not in config["provider"]


def imds_is_version_2(config: Config) -> bool:
    options = [n.get("MetadataOptions", {}) for n in node_configs(config)]
    return all(o.get("HttpTokens") == "required" and o.get("HttpPutResponseHopLimit") == 2 for o in options)


def images_are_explicit(config: Config) -> bool:
    return all(n.get("ImageId", "").startswith("ami-") for n in node_configs(config))


def every_node_has_a_profile(config: Config) -> bool:
    return all(n.get("IamInstanceProfile", {}).get("Name") for n in node_configs(config))


def disks_go_with_their_machines(config: Config) -> bool:
    disks = [n.get("BlockDeviceMappings") for n in node_configs(config)]
    return all(disks) and all(disk["Ebs"].get("DeleteOnTermination") for of_a_node in disks for disk in of_a_node)


def head_runs_no_trial(config: Config) -> bool:
    head = config["available_node_types"][config["head_node_type"]]
    return head["resources"].get("CPU") == 0 and not head["resources"].get("GPU") and head["max_workers"] == 0


def idle_cluster_has_no_workers(config: Config) -> bool:
    return config["available_node_types"]["worker"]["min_workers"] == 0


def workers_are_spot(config: Config) -> bool:
    worker = config["available_node_types"]["worker"]["node_config"]
    return worker.get("InstanceMarketOptions", {}).get("MarketType") == "spot"


def worker_resources_are_filled_in_by_ray(config: Config) -> bool:
    return config["available_node_types"]["worker"]["resources"] == {}


def head_starts_workers(config: Config) -> bool:
    return ray_start(config, "head")[1]["autoscaling_config"] == "~/ray_bootstrap_config.yaml"


def ray_down_leaves_nothing_that_costs(config: Config) -> bool:
    return config["provider"].get("cache_stopped_nodes") is False  # Ray's default is True


def every_node_installs_the_constraints(config: Config) -> bool:
    lists = [config["head_setup_commands"], config["worker_setup_commands"]]
    installs = [[c for c in commands if "pip install" in c] for commands in lists]
    return all(installs) and all("/constraints.txt" in c for commands in installs for c in commands)


def every_node_has_the_same_python(config: Config) -> bool:
    lists = [config["head_setup_commands"], config["worker_setup_commands"]]
    return all(any(re.search(r"--python 3\.11\.\d+ ", c) for c in commands) for commands in lists)


def drop(path: str) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        *parents, last = path.split("/")
        for key in parents:
            config = config[key]
        del config[last]

    return change


def put(path: str, value: Any) -> Callable[[Config], None]:
    return lambda config: plant(config, path, value)


FACTS = [
    (dashboard_is_on_loopback, drop("head_start_ray_commands")),  # Ray's default for AWS then listens on 0.0.0.0
    (head_asks_for_the_token, drop("head_start_ray_commands")),
    (workers_ask_for_the_token, drop("worker_start_ray_commands")),
    (token_reaches_the_nodes, drop("file_mounts")),
    (nothing_is_sent_to_ray, drop("head_start_ray_commands")),
    (security_groups_are_ours, drop(f"{HEAD}/node_config/SecurityGroupIds")),
    (imds_is_version_2, drop(f"{WORKER}/node_config/MetadataOptions")),
    (images_are_explicit, put(f"{HEAD}/node_config/ImageId", "latest_dlami")),
    (every_node_has_a_profile, drop(f"{WORKER}/node_config/IamInstanceProfile")),
    (disks_go_with_their_machines, drop(f"{WORKER}/node_config/BlockDeviceMappings")),
    (head_runs_no_trial, put(f"{HEAD}/resources", {})),
    (idle_cluster_has_no_workers, put(f"{WORKER}/min_workers", 1)),
    (workers_are_spot, drop(f"{WORKER}/node_config/InstanceMarketOptions")),
    (worker_resources_are_filled_in_by_ray, put(f"{WORKER}/resources", {"CPU": 4})),
    (head_starts_workers, put("head_start_ray_commands", ["ray start --head"])),
    (ray_down_leaves_nothing_that_costs, drop("provider/cache_stopped_nodes")),
    (every_node_installs_the_constraints, drop("setup_commands")),
    (every_node_has_the_same_python, drop("setup_commands")),
]


@pytest.mark.parametrize(("fact", "spoil"), [pytest.param(*pair, id=pair[0].__name__) for pair in FACTS])
def test_fact(config: Config, fact: Callable[[Config], bool], spoil: Callable[[Config], None]):
    assert fact(ask_ray(config))
    spoil(config)
    assert not fact(ask_ray(config)), "the check would not notice that the fact is gone"


def test_no_key_stands_twice():
    """PyYAML keeps the last of two equal keys without a word: a second `auth:` would undo the first."""

    def keys(node: yaml.Node) -> Iterator[list[str]]:
        if isinstance(node, yaml.MappingNode):
            yield [key.value for key, _ in node.value]
            for _, value in node.value:
                yield from keys(value)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                yield from keys(item)

    for mapping in keys(yaml.compose((ROOT / "cluster.yaml").read_text())):
        assert len(mapping) == len(set(mapping)), mapping
