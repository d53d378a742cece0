"""A weights file: whole, checked over every bit, and read back as it was written; without torch."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load, save

from workers.contract.errors import RecordError
from workers.store.weights_file import decode_weights, encode_weights

RNG = np.random.default_rng(0)
TENSORS = {
    "encoder.mean.weight": RNG.standard_normal((4, 3)).astype(np.float32),
    "encoder.mean.bias": RNG.standard_normal((1, 3)).astype(np.float32),
    "decoder.log_variance": np.float32([[0.5]]),
}
FACTS = {"trial_id": "0123456789abcdef", "epoch": 7, "settings": {"k": 5, "decoder": "gaussian"}}
RAW = encode_weights(TENSORS, FACTS)


def same(found):
    tensors, facts = found
    return (
        facts == FACTS
        and tensors.keys() == TENSORS.keys()
        and all(tensors[name].dtype == np.float32 and tensors[name].tobytes() == TENSORS[name].tobytes() for name in tensors)
        and all(tensors[name].shape == TENSORS[name].shape for name in tensors)
    )


def flipped(raw, bit):
    damaged = bytearray(raw)
    damaged[bit // 8] ^= 1 << (bit % 8)
    return bytes(damaged)


def test_what_is_written_is_read():
    assert same(decode_weights(RAW, "file"))


def test_the_same_is_written_as_the_same_bytes():
    backwards = dict(reversed(TENSORS.items())), dict(reversed(FACTS.items()))
    assert {encode_weights(*backwards) for _ in range(20)} == {RAW}


def test_it_is_a_plain_safetensors_file(tmp_path):
    (tmp_path / "file").write_bytes(RAW)
    with safe_open(tmp_path / "file", "np") as file:
        facts = json.loads(file.metadata()["trial"])
    assert len(facts.pop("sha256")) == 64
    assert facts == FACTS
    assert {name: array.tolist() for name, array in load(RAW).items()} == {n: a.tolist() for n, a in TENSORS.items()}


def test_the_checksum_is_that_of_its_format():
    """Computed from the file's bytes by hand: what the header says of every tensor, the facts' text, then the tensors."""
    end = 8 + int.from_bytes(RAW[:8], "little")
    header = json.loads(RAW[8:end])
    facts = json.loads(header.pop("__metadata__")["trial"])
    checksum = facts.pop("sha256")
    digest = hashlib.sha256(json.dumps([header, facts], sort_keys=True).encode() + RAW[end:])
    assert checksum == digest.hexdigest()


def test_every_flipped_bit_is_noticed_or_harmless():
    noticed = 0
    for bit in range(8 * len(RAW)):
        try:
            assert same(decode_weights(flipped(RAW, bit), "weights/x.safetensors"))
        except RecordError as error:
            assert error.path == "weights/x.safetensors"
            noticed += 1
    # Only spaces that fill up the header are free.
    assert noticed > 8 * len(RAW) - 100


def test_without_the_checksum_flipped_bits_would_be_believed():
    """The negative control: safetensors alone takes every bit of a number as it comes."""
    bits = range(8 * (len(RAW) - 16), 8 * len(RAW))
    assert all({n: a.tobytes() for n, a in load(flipped(RAW, bit)).items()} for bit in bits)
    assert not any(same((load(flipped(RAW, bit)), FACTS)) for bit in bits)


@pytest.mark.parametrize("length", [0, 1, 8, 100, -1, -4])
def test_a_truncated_file_is_noticed(length):
    with pytest.raises(RecordError, match=r"a\.safetensors: damaged.*; restore it from a copy"):
        decode_weights(RAW[:length], "a.safetensors")


@pytest.mark.parametrize(
    "raw",
    [
        save(TENSORS),
        save(TENSORS, {"trial": json.dumps(FACTS)}),
        save(TENSORS, {"trial": json.dumps({**FACTS, "sha256": "0" * 64})}),
        RAW + b"x",
        b"\x80\x04K\x01.",
        b"\x08" + b"\0" * 7 + b"[[[[[[[[",
        b"\x02" + b"\0" * 7 + b"[]",
        b"\xff" * 8 + b"{}",
        b"\x00\x00\x01" + b"\0" * 5 + b"[" * 65536,
    ],
    ids=["no metadata", "no checksum", "other checksum", "longer", "pickle", "brackets", "list", "length", "deep"],
)
def test_what_is_no_weights_file_is_refused(raw):
    with pytest.raises(RecordError, match=r"a\.safetensors: damaged"):
        decode_weights(raw, "a.safetensors")


def test_reading_weights_needs_no_torch():
    code = "import sys, workers.store.weights_file; print([name for name in ('torch', 'ray') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
