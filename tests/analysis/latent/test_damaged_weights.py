"""Damaged and missing weights end in a sentence and an exit code."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.torch import load as load_tensors
from safetensors.torch import save

from analysis.latent.__main__ import main
from tests.analysis.latent.trained_study import ID, copy_of, edited
from tests.analysis.planted import SMALL, write


def flipped(raw, place):
    return raw[:place] + bytes([raw[place] ^ 0x10]) + raw[place + 1 :]


def put(name, value):
    def change(tensors):
        tensors[name] = tensors[name].copy()
        tensors[name][(0,) * tensors[name].ndim] = value

    return change


DAMAGES = {
    "cut": (lambda raw: raw[:-10], "damaged"),
    "empty": (lambda raw: b"", "damaged"),
    "pickle": (lambda raw: b"\x80\x04K\x01.", "damaged"),
    "no header": (lambda raw: save(load_tensors(raw)), "damaged"),
    "no checksum": (lambda raw: save(load_tensors(raw), {"trial": json.dumps({"epoch": 2})}), "damaged"),
    "a flipped number": (lambda raw: flipped(raw, len(raw) - 30), "its content is not what was written"),
    "a flipped fact": (lambda raw: flipped(raw, raw.index(b"learning_rate") + 20), "damaged"),
    "not finite": (lambda raw: edited(raw, put("decoder.logits.weight", np.nan)), "has impossible numbers"),
    "variance": (lambda raw: edited(raw, put("running_variance/decoder.hidden0", -1.0)), "has impossible numbers"),
    "lost": (lambda raw: edited(raw, lambda t: t.pop("decoder.logits.bias")), "decoder.logits.bias is None"),
    "statistics lost": (lambda raw: edited(raw, lambda t: t.pop("running_mean/encoder.hidden0")), "running_mean"),
    "first lost": (lambda raw: edited(raw, lambda t: t.pop("encoder.hidden0.weight")), "encoder.hidden0.weight"),
    "shape": (
        lambda raw: edited(raw, lambda t: t.update({"encoder.mean.bias": np.zeros((1, 3), np.float32)})),
        "encoder.mean.bias",
    ),
    "another number": (
        lambda raw: edited(raw, put("encoder.mean.weight", 900.0)),
        "does not reproduce its trial's stored activity",
    ),
    "other trial": (lambda raw: edited(raw, facts=lambda f: f.update(trial_id=ID)), f"holds the weights of trial {ID}"),
    "other epoch": (lambda raw: edited(raw, facts=lambda f: f.update(epoch=9)), "after epoch 9; move it away"),
    "other settings": (
        lambda raw: edited(raw, facts=lambda f: f["settings"].update(k=50)),
        "its settings are not those of its trial",
    ),
    "no settings": (lambda raw: edited(raw, facts=lambda f: f.update(settings={"k": "many"})), "damaged"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_weights_end_in_a_sentence_that_names_the_file(root, tmp_path, capsys, damage, words, monkeypatch):
    monkeypatch.setattr("pickle.loads", lambda *args: pytest.fail("unpickled"))
    copied = copy_of(root, tmp_path)
    file = sorted((copied / "weights").iterdir())[0]
    file.write_bytes(damage(file.read_bytes()))
    assert main([str(copied)]) == 3
    error = capsys.readouterr().err
    assert error.startswith(f"{file}: ")
    assert words in error
    assert error.count("\n") == 1
    assert not (copied / "figures").exists()


def test_weights_under_a_wrong_name_are_named(root, tmp_path, capsys):
    copied = copy_of(root, tmp_path)
    one, other = sorted((copied / "weights").iterdir())[:2]
    one.write_bytes(other.read_bytes())
    assert main([str(copied)]) == 3
    assert capsys.readouterr().err.startswith(f"{one}: holds the weights of trial {other.name.partition('-')[0]}")
    one.unlink()
    one.mkdir()
    assert main([str(copied)]) == 3
    assert capsys.readouterr().err.startswith(f"{one}: cannot be read (Is a directory)")


def test_missing_weights_end_with_3(root, tmp_path, capsys):
    copied = copy_of(root, tmp_path)
    file = sorted((copied / "weights").iterdir())[0]
    file.unlink()
    assert main([str(copied)]) == 3
    assert capsys.readouterr().err.startswith(f"{file}: there is no such file")


def test_bad_input_ends_with_2(root, tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    assert main([str(root), "--seed", "9"]) == 2
    write(tmp_path / "half", {**SMALL, "n_z": [2, 3]}, done=lambda s: 2)
    assert main([str(tmp_path / "half")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "no such folder" in lines[0]
    assert "seed 9 has not completed" in lines[1]
    assert lines[1].endswith("n_z = 2 and 6; choose one of 0, 1")
    assert "no seed has completed" in lines[2]


def test_analysis_needs_no_torch_but_here():
    modules = ["analysis", *(f"analysis.latent.{name}" for name in ("drawing", "pictures", "trials", "numbers"))]
    finder = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("no torch here")
sys.meta_path.insert(0, NoTorch())
"""
    program = f"{finder}import {', '.join(modules)}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    control = subprocess.run([sys.executable, "-c", f"{program}, analysis.latent.models"], capture_output=True, text=True)
    assert "no torch here" in control.stderr
