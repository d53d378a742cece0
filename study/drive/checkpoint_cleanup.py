"""Delete checkpoints that are no longer needed, without listing the store at every commit."""

from collections.abc import Mapping

from workers.contract.trial import Pack
from workers.store.ends import checkpoint_named_by, prune_checkpoints
from workers.store.keys import epochs_key
from workers.store.listing import checkpoints, pauses
from workers.store.protocol import Store

KEPT, KEPT_AT_THE_END = 2, 1
"""Number of commits of a pack whose checkpoints stay: the newest and, in case it is damaged, the one before."""


class Pruning:
    """Deletes checkpoints that the packs of a round no longer need; stored rows, not a worker's report, tell which.

    The time of a listing grows with the number of files. A commit is therefore read from its rows file, whose name follows
    from the plan, and the folder is listed only at the beginning and the end of a round, and after a worker failed.
    """

    def __init__(self, store: Store, packs: Mapping[str, Pack]) -> None:
        """List once what earlier runs have left, if there are packs."""
        self._store = store
        self._packs = packs
        self._there: dict[str, dict[str, int]] = {pack_id: {} for pack_id in packs}
        """For every pack, the checkpoints and the rows set aside that are known to exist, and their epochs."""
        self._named: dict[str, list[str]] = {}
        """For every pack, the checkpoints that its newest commits name, oldest first."""
        self._disturbed: set[str] = set()
        for pack_id, epoch, key in (*checkpoints(store), *pauses(store)) if packs else ():
            if pack_id in packs:
                self._there[pack_id][key] = epoch

    def committed(self, pack_id: str, border: int) -> None:
        """Record that a pack has stored a border, and delete what it no longer needs."""
        named = None if pack_id in self._disturbed else self._names_at(pack_id, border)
        if named is None:
            self._list(pack_id, KEPT)
        else:
            self._there[pack_id][named[-1]] = border
            self._keep(pack_id, named[-KEPT:], border)

    def ended(self, pack_id: str) -> None:
        """Record that a pack is done, and delete all checkpoints but its last."""
        named = self._named.get(pack_id)
        if named is None or pack_id in self._disturbed:
            self._list(pack_id, KEPT_AT_THE_END)
        else:
            self._keep(pack_id, named[-KEPT_AT_THE_END:], self._packs[pack_id].epochs)

    def disturbed(self, pack_id: str) -> None:
        """Record that a pack starts again: its last attempt may have left a checkpoint that no rows name."""
        self._disturbed.add(pack_id)

    def finish(self) -> None:
        """List everything once more, because two workers of one pack may both have written a checkpoint."""
        found: dict[str, set[str]] = {}
        for pack_id, _, key in (*checkpoints(self._store), *pauses(self._store)) if self._packs else ():
            found.setdefault(pack_id, set()).add(key)
        for pack_id, named in list(self._named.items()):
            if found.get(pack_id, set()) - set(named):
                prune_checkpoints(self._store, pack_id, max(1, len(named)))

    def _list(self, pack_id: str, keep: int) -> None:
        self._disturbed.discard(pack_id)
        self._named[pack_id] = prune_checkpoints(self._store, pack_id, keep)
        self._there[pack_id] = dict.fromkeys(self._named[pack_id], 0)

    def _names_at(self, pack_id: str, border: int) -> list[str] | None:
        """Return the checkpoints of the newest commits up to a border; None if only a listing can tell."""
        pack = self._packs.get(pack_id)
        if pack is None or border not in pack.borders:
            return None
        newest = self._name_of(pack, border)
        if not newest:
            return None
        named = self._named.get(pack_id)
        if named is None:
            before = max((b for b in pack.borders if b < border), default=None)
            named = [self._name_of(pack, before)] if before is not None else []
        return [*(key for key in named if key and key != newest), newest]

    def _name_of(self, pack: Pack, border: int) -> str:
        before = max((b for b in pack.borders if b < border), default=pack.from_epoch or -1)
        try:
            return checkpoint_named_by(self._store, epochs_key(pack.pack_id, before + 1, border))
        except FileNotFoundError:
            return ""

    def _keep(self, pack_id: str, named: list[str], newest: int) -> None:
        there = self._there[pack_id]
        for key in [key for key, epoch in there.items() if epoch <= newest and key not in named]:
            self._store.delete(key)
            del there[key]
        self._named[pack_id] = named
