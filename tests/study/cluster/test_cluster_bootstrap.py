"""cluster.yaml through Ray's own AWS bootstrap and node provider, against moto's EC2 and IAM: what `ray up` would ask for."""

import copy
from typing import Any

import boto3
import pytest
import yaml
from botocore.exceptions import ParamValidationError
from moto import mock_aws
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.tags import NODE_KIND_HEAD, NODE_KIND_WORKER, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

from tests import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

REGION = "us-west-2"


@pytest.fixture
def config(monkeypatch, tmp_path) -> Any:
    """The file with its placeholders filled in, in an account that has what they name."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    # Ray keeps one client a region for ever, also one that was made outside of the mock.
    from ray.autoscaler._private.aws import utils

    utils.client_cache.cache_clear()
    utils.resource_cache.cache_clear()
    with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        ec2, iam = boto3.client("ec2", REGION), boto3.client("iam", REGION)
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
        group = ec2.create_security_group(GroupName="study", Description="study", VpcId=vpc)["GroupId"]
        image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        ec2.create_key_pair(KeyName="mine")
        for name in ("study-head", "study-worker"):
            iam.create_instance_profile(InstanceProfileName=name)
        key = tmp_path / "mine.pem"
        key.touch()
        text = (ROOT / "cluster.yaml").read_text()
        for placeholder, value in {
            "ami-00000000000000000": image,
            "subnet-00000000000000000": subnet,
            "sg-00000000000000000": group,
            "EDIT-ME-head": "study-head",
            "EDIT-ME-worker": "study-worker",
            "~/.ssh/EDIT-ME.pem": str(key),
            "EDIT-ME": "mine",
        }.items():
            assert placeholder in text
            text = text.replace(placeholder, value)
        yield yaml.safe_load(text)
    utils.client_cache.cache_clear()
    utils.resource_cache.cache_clear()


def start(config: Any, node_type: str, kind: str) -> dict[str, Any]:
    """What AWS has after Ray has bootstrapped the file and asked for one machine of a type."""
    ready = bootstrap_aws(prepare_config(copy.deepcopy(config)))
    provider = AWSNodeProvider(ready["provider"], ready["cluster_name"])
    tags = {TAG_RAY_NODE_KIND: kind, TAG_RAY_USER_NODE_TYPE: node_type}
    provider.create_node(ready["available_node_types"][node_type]["node_config"], tags, 1)
    (found,) = boto3.client("ec2", REGION).describe_instances()["Reservations"]
    (instance,) = found["Instances"]
    return instance


@pytest.mark.parametrize(
    ("node_type", "kind", "profile"),
    [("head", NODE_KIND_HEAD, "study-head"), ("worker", NODE_KIND_WORKER, "study-worker")],
)
def test_a_machine_is_what_the_file_says(config, node_type, kind, profile):
    wanted = config["available_node_types"][node_type]["node_config"]
    instance = start(config, node_type, kind)
    assert instance["ImageId"] == wanted["ImageId"]
    assert instance["InstanceType"] == wanted["InstanceType"]
    assert instance["SubnetId"] == wanted["SubnetIds"][0]
    assert instance["KeyName"] == "mine"
    assert instance["IamInstanceProfile"]["Arn"].endswith(f"/{profile}")
    assert instance.get("InstanceLifecycle") == ("spot" if node_type == "worker" else None)


@pytest.mark.parametrize("node_type", ["head", "worker"])
def test_no_group_but_ours_and_no_port_is_opened(config, node_type):
    instance = start(config, node_type, NODE_KIND_HEAD if node_type == "head" else NODE_KIND_WORKER)
    ours = config["available_node_types"][node_type]["node_config"]["SecurityGroupIds"]
    assert [group["GroupId"] for group in instance["SecurityGroups"]] == ours
    (group,) = boto3.client("ec2", REGION).describe_security_groups(GroupIds=ours)["SecurityGroups"]
    assert group["IpPermissions"] == [], "Ray adds none to a group of ours"


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        # How Ray ends with a sentence of its own.
        ("SubnetIds", ["subnet-11111111111111111"], AssertionError),
        ("InstanceTyp", "m6i.large", ParamValidationError),
    ],
)
def test_what_the_account_does_not_have_is_noticed(config, name, value, error):
    config["available_node_types"]["head"]["node_config"][name] = value
    with pytest.raises(error):
        start(config, "head", NODE_KIND_HEAD)
