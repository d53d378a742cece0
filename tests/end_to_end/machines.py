"""Machines with a kernel of their own, by QEMU's emulation: this machine's files read-only, a network of their own, a console.

Needs root and Debian's packages qemu-system-x86, linux-image-amd64, busybox-static, cpio, kmod, iproute2.
"""

import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

KERNELS = Path("/boot")
MODULES = Path("/lib/modules")
PARTS = ("virtio_pci", "9pnet_virtio", "9p")
"""Kernel modules without which this machine's files cannot be seen."""
FIRST = """#!/bin/busybox sh
/bin/busybox mount -t proc p /proc
for part in $(/bin/busybox cat /order); do /bin/busybox insmod /$part; done
/bin/busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /root
exec /bin/busybox switch_root /root {second}
"""
SECOND = """#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/mnt/home TMPDIR=/mnt/tmp OMP_NUM_THREADS=1
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
for folder in /run /mnt /var/tmp; do mount -t tmpfs t $folder; done
mkdir -p /dev/shm /mnt/home /mnt/tmp; mount -t tmpfs t /dev/shm
for word in $(cat /proc/cmdline); do case $word in own.*) export "${word#own.}";; esac; done
modprobe virtio_net; hostname $name
ip link set lo up; ip link set eth0 up; ip addr add $address/24 dev eth0
# The first line stands behind what the firmware has drawn.
echo; bash $script
echo "EXIT $?"
echo o > /proc/sysrq-trigger; sleep 9
"""


@dataclass(frozen=True)
class Machine:
    """One that runs."""

    process: subprocess.Popen[bytes]
    console: Path

    def said(self) -> str:
        """All of its console so far."""
        return self.console.read_text(errors="replace").replace("\r", "")

    def wait_for(self, pattern: str, seconds: float) -> re.Match[str]:
        """Until its console shows this at the beginning of a line."""
        end = time.monotonic() + seconds
        while not (found := re.search(f"^{pattern}", self.said(), re.MULTILINE)):
            is_over = time.monotonic() > end or self.process.poll() is not None
            assert not is_over or re.search(f"^{pattern}", self.said(), re.MULTILINE), (
                f"{self.console}: no {pattern}\n{self.said()[-3000:]}"
            )
            time.sleep(0.1)
        return found

    def type(self, line: str) -> None:
        """Give its console a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def kill(self) -> None:
        """As if somebody had pulled its plug."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def lacking(*more: str) -> str:
    """What this machine lacks to make others, which need `more` programs; empty if nothing."""
    if sys.platform != "linux" or os.geteuid():
        return "machines need root on Linux"
    needed, path = (
        ("qemu-system-x86_64", "busybox", "cpio", "modprobe", "ip", *more),
        f"{os.environ['PATH']}:/usr/sbin:/sbin",
    )
    if missing := [tool for tool in needed if not shutil.which(tool, path=path)]:
        return f"machines need {' '.join(missing)}"
    return "" if _kernel() else f"machines need a kernel in {KERNELS} with its modules in {MODULES}"


def prepare(folder: Path) -> None:
    """The first files of every machine that is started with this folder."""
    files = folder / "first"
    (files / "bin").mkdir(parents=True)
    for name in ("proc", "root", "dev"):
        (files / name).mkdir()
    shutil.copy(shutil.which("busybox") or "", files / "bin" / "busybox")
    asked = ["modprobe", "-S", _kernel(), "--show-depends"]
    lines = [line for part in PARTS for line in subprocess.check_output([*asked, part], text=True).splitlines()]
    modules = dict.fromkeys(line.split()[1] for line in lines if line.startswith("insmod"))
    for module in modules:
        shutil.copy(module, files)
    (files / "order").write_text("\n".join(Path(module).name for module in modules))
    (folder / "second").write_text(SECOND)
    (files / "init").write_text(FIRST.format(second=folder / "second"))
    for script in (folder / "second", files / "init"):
        script.chmod(0o755)
    names = "\n".join(str(path.relative_to(files)) for path in sorted(files.rglob("*")))
    packed = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), cwd=files, check=True, capture_output=True
    )
    (folder / "first.gz").write_bytes(gzip.compress(packed.stdout, 1))


def start(folder: Path, name: str, number: int, script: str, port: int, disk: Path | None = None) -> Machine:
    """Turn a machine on; it runs the script and turns itself off. Its address is 10.9.0.NUMBER."""
    (folder / f"{name}.sh").write_text(script)
    own = {"name": name, "address": f"10.9.0.{number}", "script": folder / f"{name}.sh"}
    words = [
        "qemu-system-x86_64",
        *("-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "1500", "-nographic", "-no-reboot"),
        *("-kernel", str(KERNELS / f"vmlinuz-{_kernel()}"), "-initrd", str(folder / "first.gz")),
        *("-append", " ".join(["console=ttyS0 panic=-1 quiet net.ifnames=0", *(f"own.{k}={v}" for k, v in own.items())])),
        *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
        # A wire that all machines of this port share, on this machine's loopback.
        *("-netdev", f"socket,id=wire,mcast=230.0.0.1:{port},localaddr=127.0.0.1"),
        *("-device", f"virtio-net-pci,netdev=wire,mac=52:54:00:00:00:{number:02x},romfile="),
    ]
    if disk:
        words += ["-drive", f"file={disk},format=raw,if=virtio,cache=none"]
    console = folder / f"{name}-{time.monotonic_ns()}.txt"
    with open(console, "wb") as file:
        return Machine(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=file, stderr=file), console)


def _kernel() -> str:
    """The newest kernel here that has all parts."""
    found = [path.name for path in sorted(MODULES.glob("*")) if (KERNELS / f"vmlinuz-{path.name}").exists()]
    return next((name for name in reversed(found) if list((MODULES / name).rglob("9p.ko*"))), "")
