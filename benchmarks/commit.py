"""Measures what a commit costs (checkpoint and rows, with their syncs), as a share of the epoch before it.

python -m benchmarks.commit [--data-root FOLDER] [--folders /tmp /dev/shm] [--out benchmarks/commit.md]
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.table import kind_of, page, parser, publish, ratio
from study.grid.design import trials_of
from study.grid.grid import parse_grid
from study.plan.packing import pack_trials
from workers.contract.trial import Pack
from workers.data.images import known
from workers.model.inputs import load_data
from workers.replicas.device import prepare_device
from workers.store.folder import FolderStore
from workers.store.keys import CHECKPOINTS_FOLDER, EPOCHS_FOLDER
from workers.train.loop import Progress, train

GRID = """\
study: commit
data: {{name: {data}}}
factors: {{decoder: [bernoulli], k: [{k}], n_z: [50], warmup: [0, 20], seed: [0, 1, 2]}}
training: {{epochs: 60}}
"""


class Alternating(FolderStore):
    """A store whose commits go to its folders in turn."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Take empty folders on the file systems to compare."""
        super().__init__(folders[0])
        self._stores = [FolderStore(folder) for folder in folders]
        self.commits = 0
        self.checkpoint_bytes = 0

    def create(self, key: str, raw: bytes) -> bool:
        """Create a file, see Store.create; writing the rows ends a commit."""
        done = self._stores[self.commits % len(self._stores)].create(key, raw)
        if key.startswith(CHECKPOINTS_FOLDER):
            self.checkpoint_bytes = len(raw)
        self.commits += key.startswith(EPOCHS_FOLDER)
        return done


def pack_of(data: str, k: int) -> Pack:
    """Return the pack of six that the planner makes from these trials."""
    grid = parse_grid(GRID.format(data=data, k=k))
    images = known(grid.base.data)
    return pack_trials(trials_of(grid, images.fingerprint), grid.run, "cpu", 1, images)[0]


def compare(data: str, root: str | None, k: int, folders: Sequence[Path], commits: int) -> list[list[object]]:
    """Measure one row per folder: the real loop of one pack, which commits after every epoch to the folders in turn."""
    pack, device = pack_of(data, k), prepare_device("cpu")
    first = pack.trials[0].settings
    images = load_data(first.data.model_copy(update={"root": root}), first.measure, device)
    every_epoch = pack.model_copy(update={"borders": tuple(range(1, pack.epochs + 1))})
    epochs: list[float] = []
    taken: list[float] = []
    last = 0.0

    def note(progress: Progress) -> None:
        # The loop reports an epoch before its commit, and then reports the commit without seconds.
        nonlocal last
        now = time.perf_counter()
        (epochs if progress.seconds else taken).append(progress.seconds or now - last)
        last = now

    with tempfile.TemporaryDirectory(dir=folders[0]) as one, tempfile.TemporaryDirectory(dir=folders[-1]) as other:
        store = Alternating([Path(one), Path(other)][: len(folders)])
        train(
            every_epoch,
            images,
            store,
            device=device,
            attempt="0" * 16,
            report=note,
            should_stop=lambda: store.commits >= commits * len(folders),
        )
    # Epoch 0 has no training step.
    epoch = sorted(epochs[1:])[len(epochs[1:]) // 2]
    rows: list[list[object]] = []
    for i, folder in enumerate(folders):
        mine = taken[i :: len(folders)]
        percent = [100 * each / epoch for each in mine]
        rows.append(
            [
                data,
                k,
                len(pack.trials),
                f"{epoch:.2f}",
                pack.borders[0],
                kind_of(folder),
                f"{store.checkpoint_bytes / 1e6:.1f}",
                ratio([1e3 * each for each in mine], 1),
                ratio(percent, 2),
                f"{sorted(percent)[len(percent) // 2] / pack.borders[0]:.2f}",
            ]
        )
    return rows


def main() -> None:
    """Measure each pack and print the table."""
    words = parser("What a commit costs")
    words.add_argument("--data-root", help="folder with MNIST/raw/*.gz; without it MNIST is left out")
    words.add_argument("--folders", type=Path, nargs="+", default=[Path(tempfile.gettempdir()), Path("/dev/shm")])
    words.add_argument("--commits", type=int, default=10, help="commits per folder for the digits; MNIST has three")
    asked = words.parse_args()
    rows = [row for k in (1, 5) for row in compare("digits", None, k, asked.folders, asked.commits)]
    if asked.data_root:
        rows += compare("mnist", asked.data_root, 1, asked.folders, min(3, asked.commits))
    header = [
        "data",
        "K",
        "trials per pack",
        "epoch, s",
        "epochs per commit, as planned",
        "file system",
        "checkpoint, MB",
        "commit, ms",
        "% of one epoch",
        "% of training, as planned",
    ]
    notes = [
        "A commit: the rows as a table, copy of the state, checkpoint written and synced, its sha256, rows "
        "encoded with content "
        "hash, written and synced, both linked create-only and their folders synced. An epoch: training and measurements.",
        "One thread; medians, with the order statistics that hold the true median with 95%.",
    ]
    publish(page("Commit", "What does a commit cost, as a share of an epoch?", header, rows, notes), asked.out)


if __name__ == "__main__":
    main()
