"""Small images, the files that hold them, and files that are damaged."""

import gzip
import os
import zipfile

import numpy as np

from workers.contract.settings import DataSettings

DATA_ROOT = os.environ.get("STUDY_DATA_ROOT")


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith("data")
    return text


def write(tmp_path, **arrays):
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    return DataSettings(name="npz", path=str(path))


RNG = np.random.default_rng(0)

GREY = RNG.integers(0, 256, (23, 4, 3), dtype=np.uint8)

SHARES = RNG.random((23, 4, 3))

LABELS = np.arange(23) % 3


class Trap:
    """An object whose unpickling would leave a trace."""

    def __reduce__(self):
        return os.mkdir, ("trap-went-off",)


def npy_bytes(array, **options):
    from io import BytesIO

    file = BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def zipped(raw):
    from io import BytesIO

    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images.npy", raw)
    return file.getvalue()


DAMAGED = {
    "empty": b"",
    "text": b"these are no images\n",
    "half a zip": zipped(npy_bytes(GREY))[:200],
    "pickled": zipped(npy_bytes(np.array([Trap()]), allow_pickle=True)),
    "bare pickle": b"\x80\x04K\x01.",
    "zip of text": zipped(b"these are no images"),
    "half an array": zipped(npy_bytes(GREY)[:100]),
    "one array": npy_bytes(GREY),
}


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.tobytes()


FILES = {
    "train-images-idx3-ubyte": idx(GREY),
    "train-labels-idx1-ubyte": idx(LABELS.astype(np.uint8)),
    "t10k-images-idx3-ubyte": idx(GREY[:5]),
    "t10k-labels-idx1-ubyte": idx(LABELS[:5].astype(np.uint8)),
}

FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}


def fill(root, name="mnist", packed=True):
    raw = root / FOLDERS[name] / "raw"
    raw.mkdir(parents=True)
    for file, content in FILES.items():
        if packed:
            (raw / f"{file}.gz").write_bytes(gzip.compress(content))
        else:
            (raw / file).write_bytes(content)
    return raw


def settings_at(root, name="mnist"):
    return DataSettings(name=name, root=str(root))


def tree(root):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")} | {
        root: root.stat().st_mtime_ns
    }


BITS = RNG.integers(0, 2, (9, 784), dtype=np.uint8)

FRAMES = np.repeat(np.arange(1965) % 256, 560).astype(np.uint8).reshape(1965, 28, 20)

FRAMES[:, 0, 0] = np.arange(1965) // 256
