"""Read the cluster file of `ray up`, and tell from Ray's notes on this machine whether that cluster is up."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from study.cluster.named import ray_folder
from workers.contract.errors import CommandError, reason_of
from workers.contract.user_paths import expanded
from workers.contract.yaml_tree import FileKind
from workers.store.folder import read_limited

_CLUSTER_FILE = FileKind("a cluster file", "some pages of text", "cluster.yaml is one", max_bytes=1_000_000)


@dataclass(frozen=True)
class ClusterFile:
    """The part of a cluster file that is needed to reach the head."""

    path: str
    name: str
    provider: str
    head_ip: str | None
    """Address of the head as seen from here; None unless the machines are your own (`provider: {type: local}`)."""
    user: str
    key: str | None
    proxy_command: str | None


def read_cluster(path: str) -> ClusterFile:
    """Read the cluster file of `ray up`.

    Raises:
        CommandError: the file cannot be read, or is not a cluster file of `ray up`.
    """
    try:
        said = yaml.safe_load(read_limited(path, _CLUSTER_FILE).decode())
    except OSError as error:
        raise CommandError(f"--cluster {path}: cannot be read ({reason_of(error)}); name the file of `ray up`") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CommandError(f"--cluster {path}: is not a YAML file ({' '.join(str(error).split())[:200]})") from error
    provider, auth = (_part(said, name) for name in ("provider", "auth"))
    name = said.get("cluster_name") if isinstance(said, dict) else None
    if not isinstance(name, str) or not provider.get("type") or not auth.get("ssh_user"):
        raise CommandError(
            f"--cluster {path}: lacks cluster_name, provider.type or auth.ssh_user; name the file of `ray up`"
        )
    head = provider.get("external_head_ip") or provider.get("head_ip")
    key, proxy = auth.get("ssh_private_key"), auth.get("ssh_proxy_command")
    return ClusterFile(
        path=path,
        name=name,
        provider=str(provider["type"]),
        head_ip=str(head) if head else None,
        user=str(auth["ssh_user"]),
        key=str(Path(expanded(key))) if isinstance(key, str) else None,
        proxy_command=proxy if isinstance(proxy, str) else None,
    )


def up_here(folder: Path) -> list[ClusterFile]:
    """Return the clusters that `ray up` has started here from a file in `folder` and that `ray down` has not ended.

    Only clusters of your own machines are found, because Ray records those in a local file; a cloud provider would have to
    be asked over the network.
    """
    found = []
    for path in sorted(folder.glob("cluster*.yaml")):
        with suppress(CommandError):
            cluster = read_cluster(str(path))
            if _was_started(cluster):
                found.append(cluster)
    return found


def _was_started(cluster: ClusterFile) -> bool:
    try:
        nodes = json.loads((ray_folder() / f"cluster-{cluster.name}.state").read_text())
        return any(node["state"] == "running" and node["tags"].get("ray-node-type") == "head" for node in nodes.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _part(said: Any, name: str) -> dict[str, Any]:
    part = said.get(name) if isinstance(said, dict) else None
    return part if isinstance(part, dict) else {}
