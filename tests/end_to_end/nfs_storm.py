"""A study and a race on a real NFS share: Linux' own server and client, in machines of their own, and plugs that are pulled.

    python -m tests.end_to_end.nfs_storm --out FOLDER

1. Two clients create the same keys at the same time, while the server is killed again and again between doing what it was asked
   and answering: every key must have one creator that knows it, and hold what that one wrote.
2. The client that runs a study is killed; the other one goes on, the server is killed under it, and at the end the share must hold,
   key by key, what an undisturbed run puts on a local disk.

Prints a table and exits 1 if that is not so. With `--believe-refusals` the store takes "the name exists" for another's file, as it
is on a local disk: the same race must find keys without a creator. Needs what machines.py needs, and nfs-kernel-server and nfs-common.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests import ROOT
from tests.end_to_end.machines import Machine, lacking, prepare, start

SERVER = """
modprobe virtio_blk; modprobe ext4; modprobe nfsd; modprobe sch_netem
mkdir /mnt/disk; mount /dev/vda /mnt/disk
mkdir -p /mnt/disk/share /mnt/disk/state; cp -an /var/lib/nfs/. /mnt/disk/state/; mount --bind /mnt/disk/state /var/lib/nfs
mkdir -p /var/lib/nfs/rpc_pipefs; mount -t nfsd n /proc/fs/nfsd; mount -t rpc_pipefs r /var/lib/nfs/rpc_pipefs
rpcbind; exportfs -o rw,sync,no_root_squash,no_subtree_check,fsid=0 10.9.0.0/24:/mnt/disk/share
rpc.mountd; nfsdcld
# Whoever comes back after a crash has ten seconds to say what it held.
rpc.nfsd -L 10 -G 10 4
echo SERVING
# It does all that it is asked, and nobody hears of it.
while read -r line; do tc qdisc add dev eth0 root netem loss 100%; echo MUTE; done < /dev/ttyS0
"""
CLIENT = """
modprobe nfsv4; mkdir /mnt/share
mount -t nfs4 -o hard,vers=4.2 10.9.0.1:/ /mnt/share || exit 9
cd {root}; export PYTHONPATH={root}
"""
RACE = """
import json, os, sys, time
from workers.store.open import FolderStore
if {believes}:
    os.path.samefile = lambda one, other: False
store = FolderStore("/mnt/share/race")
store.create("plan/{name}", b"here")
while len(store.list("plan")) < 2:
    time.sleep(0.01)
print("RACING", flush=True)
link, aims = os.link, {aims}

def aimed(source, target):
    # The server goes mute between our asking and its answering, when the other side of the console has said so.
    global aims
    if aims and number % 60 == 59:
        aims -= 1
        print("LINKING", flush=True)
        sys.stdin.readline()
    link(source, target)

os.link = aimed
won, until = [], time.monotonic() + {seconds}
number = 0
while time.monotonic() < until:
    if store.create(f"epochs/{{number:06}}", b"{name}" * 500):
        won.append(number)
    number += 1
print("WON " + json.dumps([number, won]), flush=True)
"""
GRID = """
study: storm
factors: {warmup: [0, 3], n_z: [2, 3], seed: [0]}
model: {hidden: [16]}
training: {epochs: 12}
measure: {nll_samples: 12, secondary_samples: 12}
run: {commit_every: 1, packing: none}
"""


class Share:
    """A server that can be killed and comes back."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.kills = folder, port, 0
        self.disk = folder / "disk"
        with open(self.disk, "wb") as file:
            file.truncate(1 << 30)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.disk], check=True)
        self.machine = self._start()

    def _start(self) -> Machine:
        machine = start(self.folder, "server", 1, SERVER, self.port, self.disk)
        machine.wait_for("SERVING", 120)
        return machine

    def kill(self, mute_s: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Let it work unheard for a moment, then pull the plug, then start it again."""
        self.machine.type("mute")
        self.machine.wait_for("MUTE", 20)
        meanwhile()
        time.sleep(mute_s)
        self.machine.kill()
        self.kills += 1
        self.machine = self._start()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=6, help="of the server, in the race")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--believe-refusals", action="store_true", help="the negative control, of the race alone")
    words = parser.parse_args()
    if problem := lacking("mkfs.ext4", "mount.nfs4", "rpc.nfsd", "rpc.mountd", "exportfs"):
        sys.exit(problem)
    started = time.monotonic()
    folder = words.out.absolute()
    folder.mkdir(parents=True)
    prepare(folder)
    chance = random.Random(words.seed)
    share = Share(folder, 20000 + os.getpid() % 20000)
    machines: list[Machine] = []
    try:
        table, is_fair = race(share, machines, words.kills, chance, words.believe_refusals)
        is_whole = True
        if not words.believe_refusals:
            more, is_whole = study(share, machines)
            table |= more
    finally:
        for machine in (share.machine, *machines):
            machine.kill()
    table["seconds"] = round(time.monotonic() - started)
    for name, value in table.items():
        print(f"| {name} | {value} |", flush=True)
    return 0 if is_fair and is_whole else 1


def race(
    share: Share, machines: list[Machine], kills: int, chance: random.Random, believes: bool
) -> tuple[dict[str, object], bool]:
    """Two clients, the same keys, and a server that dies."""
    racers = []
    for number, name in ((2, "one"), (3, "two")):
        code = share.folder / f"race-{name}.py"
        aims = kills if name == "one" else 0
        code.write_text(RACE.format(name=name, seconds=20 + 30 * kills, believes=believes, aims=aims))
        racers.append(start(share.folder, name, number, _client(f"{sys.executable} {code} < /dev/ttyS0"), share.port))
    machines += racers
    for racer in racers:
        racer.wait_for("RACING", 120)
    for number in range(1, kills + 1):
        racers[0].wait_for(rf"(?:(?s:.*?)^LINKING){{{number}}}", 120)
        share.kill(chance.uniform(0.3, 0.8), lambda: racers[0].type("go"))
    won = {}
    for racer in racers:
        tried, numbers = json.loads(racer.wait_for(r"WON (.*)\n", 60 * kills + 120)[1])
        won[racer] = (tried, set(numbers))
        racer.wait_for("EXIT 0", 60)
    (first, one), (second, two) = won.values()
    tried = max(first, second)
    wrong = _wrong_contents(share, machines, one, two)
    orphans, twice = tried - len(one | two), len(one & two)
    table = {
        "server killed after doing and before answering": share.kills,
        "keys raced for": tried,
        "won by one / by the other": f"{len(one)} / {len(two)}",
        "with two creators / none / another's content": f"{twice} / {orphans} / {wrong}",
    }
    return table, not (orphans or twice or wrong) and min(len(one), len(two)) > 0


def _wrong_contents(share: Share, machines: list[Machine], one: set[int], two: set[int]) -> int:
    """Keys that do not hold what their creator wrote, as a client sees them that comes later."""
    (share.folder / "won.json").write_text(json.dumps({"one": sorted(one), "two": sorted(two)}))
    code = share.folder / "look.py"
    code.write_text(
        "import json\nfrom workers.store.open import FolderStore\nstore = FolderStore('/mnt/share/race')\n"
        f"won = json.load(open('{share.folder / 'won.json'}'))\n"
        "print('WRONG', sum(store.read(f'epochs/{n:06}') != who.encode() * 500 for who, ns in won.items() for n in ns), flush=True)"
    )
    looker = start(share.folder, "look", 4, _client(f"{sys.executable} {code}"), share.port)
    machines.append(looker)
    return int(looker.wait_for(r"WRONG (\d+)\n", 300)[1])


def study(share: Share, machines: list[Machine]) -> tuple[dict[str, object], bool]:
    """A study whose client is killed, and whose server is killed under the client that goes on."""
    grid, content = share.folder / "storm.yaml", Path(__file__).with_name("contents.py")
    grid.write_text(GRID)

    def run(name: str, number: int, out: str) -> Machine:
        command = f"{sys.executable} -m study.run {grid} --executor inline --out {out} > /mnt/log 2>&1"
        watch = f"(while sleep 1; do echo ROWS $(ls {out}/storm/epochs 2>/dev/null | wc -l); done) &"
        told = f"echo CODE $?; cat /mnt/log; {sys.executable} {content} {out}/storm"
        return _added(machines, start(share.folder, name, number, _client(f"{watch} {command}; {told}"), share.port))

    alone = run("alone", 5, "/mnt/alone")
    first = run("one", 2, "/mnt/share")
    at_first = int(first.wait_for(r"ROWS (\d{2,})\n", 600)[1])
    first.kill()
    second = run("two", 3, "/mnt/share")
    second.wait_for(rf"ROWS (?!0\n|{at_first}\n)\d+", 900)
    rows = [int(number) for number in re.findall(r"^ROWS (\d+)", second.said(), re.MULTILINE)]
    before = share.kills
    share.kill(0.3)
    kept, expected = (json.loads(machine.wait_for(r"CONTENT (.*)\n", 1500)[1]) for machine in (second, alone))
    code = int(second.wait_for(r"CODE (\d+)", 1)[1])
    same = sum(kept.get(key) == value for key, value in expected.items())
    table = {
        "study: rows files when its client was killed": at_first,
        "study: rows files when the server was killed": rows[-1],
        "study: keys expected / equal / too many": f"{len(expected)} / {same} / {len(kept.keys() - expected.keys())}",
        "study: exit code": code,
    }
    return table, kept == expected and code == 0 and len(expected) > at_first and share.kills == before + 1


def _added(machines: list[Machine], machine: Machine) -> Machine:
    machines.append(machine)
    return machine


def _client(command: str) -> str:
    return CLIENT.format(root=ROOT) + command


if __name__ == "__main__":
    sys.exit(main())
