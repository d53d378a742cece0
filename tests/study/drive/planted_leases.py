"""Leases that another machine has left."""

import json
import time

from workers.store.keys import LEASE_FOLDER, lease_key
from workers.store.protocol import Store


def plant(store: Store, number: int = 1, run_id: str = "aa", **values: object) -> str:
    """A lease of another machine, just now, unless `values` say otherwise."""
    now = time.time()
    content = {"run_id": run_id, "host": "elsewhere", "machine": "m", "pid": 1, "process_start": "1"}
    key = lease_key(number, run_id)
    assert store.create(key, json.dumps(content | {"started": now - 100, "beat": now} | values).encode())
    return key


def keys(store: Store) -> list[str]:
    return store.list(LEASE_FOLDER)
