"""What a study's folder or bucket holds but for wall times, key by key: `python contents.py URL` prints it as JSON."""

import hashlib
import json
import sys

from workers.store.open import open_store
from workers.store.parquet import content_sha256, decode
from workers.store.protocol import Store


def contents(store: Store, is_strict: bool = True) -> dict[str, str]:
    """A hash of every rows file, end and model; `-` for what cannot be read, or an error if strict."""
    found = {}
    for folder in ("epochs", "trials", "weights"):
        for key in store.list(folder):
            raw = store.read(key)
            try:
                found[key] = hashlib.sha256(raw).hexdigest() if folder == "weights" else content_sha256(decode(raw, key))
            except ValueError:
                if is_strict:
                    raise
                found[key] = "-"
    return found


if __name__ == "__main__":
    print("CONTENT", json.dumps(contents(open_store(sys.argv[1]))), flush=True)
