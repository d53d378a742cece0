"""Write and read the file of a trained model: safetensors whose header holds facts and a checksum over the whole file."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from workers.contract.errors import RecordError

_HEADER, _FACTS, _SHA256 = "__metadata__", "trial", "sha256"

FROM_A_COPY = "restore it from a copy"


def encode_weights(tensors: Mapping[str, NDArray[np.float32]], facts: Mapping[str, Any]) -> bytes:
    """Return a safetensors file of tensors and JSON facts, with a checksum over names, types, shapes, bytes and facts."""
    plain = dict(tensors)
    header, buffer = _split(save(plain))
    # A single entry of metadata, because safetensors writes several entries in arbitrary order.
    signed = {**facts, _SHA256: _checksum(header, facts, buffer)}
    return save(plain, metadata={_FACTS: json.dumps(signed, sort_keys=True)})


def decode_weights(raw: bytes, path: str) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    """Return the tensors and facts that were given to `encode_weights`; nothing is unpickled.

    Raises:
        RecordError: the bytes are damaged, or are not a weights file of this version; the message names `path`.
    """
    try:
        header, buffer = _split(raw)
        facts: dict[str, Any] = json.loads(header[_HEADER][_FACTS])
        is_whole = facts.pop(_SHA256) == _checksum(header, facts, buffer)
        tensors = load(raw) if is_whole else {}
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecordError(path, f"damaged: not a complete weights file ({type(error).__name__})", FROM_A_COPY) from error
    if not is_whole:
        raise RecordError(path, "damaged: its content is not what was written", FROM_A_COPY)
    return tensors, facts


def _split(raw: bytes) -> tuple[dict[str, Any], memoryview]:
    # safetensors reads metadata only from files. Its layout: 8 bytes of length, a JSON header, then the tensors.
    end = 8 + int.from_bytes(raw[:8], "little")
    header: dict[str, Any] = json.loads(raw[8:end])
    return header, memoryview(raw)[end:]


def _checksum(header: Mapping[str, Any], facts: Mapping[str, Any], buffer: memoryview) -> str:
    # The header is parsed and written again, so that its content counts and not its white space.
    tensors = {name: entry for name, entry in header.items() if name != _HEADER}
    digest = hashlib.sha256(json.dumps([tensors, facts], sort_keys=True).encode())
    digest.update(buffer)
    return digest.hexdigest()
