"""Hosts for testing a cluster on one machine: each has its own network, processes, host name, home, /tmp/ray, /dev/shm and sshd.

They share one bridge and, but for the folders in `private`, the file system: so one virtual environment serves all. A host can
be killed like a machine that loses power, and started again. Needs root and Debian's openssh-server and iproute2.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

BRIDGE, NETWORK = "fiwbr", "10.79.0"
NEEDED = ("sshd", "ip", "unshare", "rsync", "ssh", "ssh-keygen")

INIT = """#!/bin/bash
hostname {name}
mount --make-rprivate /
# The interpreter behind a virtual environment may live in the home that is hidden next.
if [ -d {home}/.pyenv ]; then mkdir -p {own}/home/.pyenv; mount --bind {home}/.pyenv {own}/home/.pyenv; fi
mount --rbind {own}/home {home}
mkdir -p /tmp/ray; mount --bind {own}/ray /tmp/ray
mount -t tmpfs -o size=2g tmpfs /dev/shm
for folder in {private}; do mkdir -p $folder; mount -t tmpfs -o size=1g tmpfs $folder; done
exec /usr/sbin/sshd -D -e -f /dev/null -o HostKey={folder}/hostkey -o ListenAddress={address} -o PidFile=none -o UsePAM=no \\
  -o PermitRootLogin=yes -o MaxStartups=100 -o Subsystem='sftp internal-sftp'
"""


@dataclass(frozen=True)
class Hosts:
    """Hosts that are up, or were."""

    folder: Path
    names: tuple[str, ...]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def address(self, name: str) -> str:
        return f"{NETWORK}.{self.names.index(name) + 2}"

    def home(self, name: str) -> Path:
        return self.folder / name / "home"

    @property
    def key(self) -> Path:
        return self.folder / "key"


def lacking() -> str:
    """What this machine lacks for making hosts, in words; empty if nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root on Linux can make network namespaces"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = [name for name in NEEDED if shutil.which(name, path=path) is None]
    return f"no {', '.join(absent)} here; apt-get install openssh-server iproute2 rsync" if absent else ""


def namespace(name: str) -> str:
    """The network namespace of a host, whose name nobody else gives to one of theirs."""
    return f"factorial-iwae-{name}"


def make(folder: Path, names: Sequence[str], environment: str, private: Sequence[Path] = ()) -> Hosts:
    """Start hosts; `environment` is the beginning of every host's .bashrc, `private` are folders that each has for itself."""
    hosts = Hosts(folder, tuple(names))
    remove(hosts)
    folder.mkdir(parents=True, exist_ok=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("key", "hostkey"):
        if not (folder / name).exists():
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    _run("ip", "link", "add", BRIDGE, "type", "bridge")
    _run("ip", "addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")
    for name in names:
        home = hosts.home(name)
        for path in (home / ".ssh", folder / name / "ray"):
            path.mkdir(parents=True)
        shutil.copy(folder / "key.pub", home / ".ssh" / "authorized_keys")
        for path in (home, home / ".ssh"):
            path.chmod(0o700)
        (home / ".bashrc").write_text(environment)
        _run("ip", "netns", "add", namespace(name))
        _run("ip", "link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", namespace(name))
        _run("ip", "link", "set", f"v{name}", "master", BRIDGE, "up")
        _run("ip", "-n", namespace(name), "addr", "add", f"{hosts.address(name)}/24", "dev", "eth0")
        for link in ("eth0", "lo"):
            _run("ip", "-n", namespace(name), "link", "set", link, "up")
        # Leads nowhere; but Ray takes the address of the interface with the default route for its own.
        _run("ip", "-n", namespace(name), "route", "add", "default", "via", f"{NETWORK}.1")
        (folder / name / "init").write_text(
            INIT.format(
                name=name,
                # Where sshd looks for keys, whatever HOME says.
                home=pwd.getpwuid(os.geteuid()).pw_dir,
                own=folder / name,
                folder=folder,
                address=hosts.address(name),
                private=" ".join(map(str, private)),
            )
        )
        (folder / name / "init").chmod(0o755)
        start(hosts, name)
    try:
        for name in names:
            wait_for(hosts, name)
    except BaseException:
        remove(hosts)
        raise
    return hosts


def start(hosts: Hosts, name: str) -> None:
    """Switch a host on, for the first time or again; what was on its disk is there, what was in /dev/shm is not."""
    _run("ip", "link", "set", f"v{name}", "up")
    with open(hosts.folder / name / "sshd.log", "ab") as log:
        hosts.running[name] = subprocess.Popen(
            [
                "ip",
                "netns",
                "exec",
                namespace(name),
                "unshare",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "--mount",
                "--uts",
                str(hosts.folder / name / "init"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def wait_for(hosts: Hosts, name: str) -> None:
    """Until a host lets us in."""
    end = time.monotonic() + 300
    while run_on(hosts, name, "true").returncode:
        assert time.monotonic() < end, f"{name} lets nobody in:\n{(hosts.folder / name / 'sshd.log').read_text()[-2000:]}"
        time.sleep(0.2)


def kill(hosts: Hosts, name: str) -> None:
    """kill -9 of all of a host's processes at once, and nobody there to close its connections."""
    _run("ip", "link", "set", f"v{name}", "down")
    process = hosts.running.pop(name)
    # The first process of the namespace goes with it (--kill-child), and the kernel ends all others.
    process.kill()
    process.wait(30)


def shut_down(hosts: Hosts, name: str) -> None:
    """As a machine goes that is told to: SIGTERM to all its processes, and the network ends a moment later."""
    run_on(hosts, name, "kill -TERM -1")
    time.sleep(5)
    kill(hosts, name)


def remove(hosts: Hosts) -> None:
    """End and remove whatever `make` made, also what an earlier test left behind."""
    for name in hosts.names:
        for pid in _run("ip", "netns", "pids", namespace(name), check=False).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if name in hosts.running:
            hosts.running.pop(name).wait(30)
        _run("ip", "netns", "del", namespace(name), check=False)
        _run("ip", "link", "del", f"v{name}", check=False)
        shutil.rmtree(hosts.folder / name, ignore_errors=True)
    _run("ip", "link", "del", BRIDGE, check=False)


def ssh(hosts: Hosts, name: str, command: str) -> list[str]:
    """The words that run a command line on a host, with its .bashrc."""
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=5")
    words = ["ssh", "-i", str(hosts.key), *(word for option in options for word in ("-o", option))]
    return [*words, f"root@{hosts.address(name)}", f"source ~/.bashrc; {command}"]


def run_on(hosts: Hosts, name: str, command: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """What a command line says on a host, and how it ends."""
    return subprocess.run(
        ssh(hosts, name, command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
    )


def processes_on(hosts: Hosts, name: str) -> list[str]:
    """The command lines of all that runs on a host, without the question itself."""
    lines = run_on(hosts, name, "ps -eo args=").stdout.splitlines()
    return [line for line in lines if "sshd" not in line and "ps -eo" not in line]


def _run(*words: str, check: bool = True) -> str:
    return subprocess.run(words, check=check, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
