"""Texts that travel with a study (labels, footers, leases) are harmless in every format that takes them."""

import ast
import io
import json
import math
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.claims.__main__ import main as claims_main
from analysis.loading.csv_text import csv_of
from analysis.loading.labels import LabelError, read_labels
from analysis.report.__main__ import main as report_main
from analysis.report.latex import escape, latex
from analysis.report.markdown import markdown
from analysis.report.section import Section, Table
from study.commands.main import main
from study.doctor.stored_files import examine
from study.drive.lease import glance, sentence
from study.forecast.amounts import moment
from tests import ROOT
from tests.analysis.planted import write
from tests.study.finished_study import finished
from workers.contract.errors import CommandError, RecordError, exit_code_of, one_line, printable_lines, say
from workers.store.folder import FolderStore
from workers.store.keys import lease_key
from workers.store.parquet import decode_with_footer, encode
from workers.store.weights_file import decode_weights, encode_weights

NASTY = ["a\n\\input{/etc/passwd}", "a\r# heading", "\x1b[31mred\x1b[0m", "\u202eright to left", "a\x85# b", "a\u2028# b"]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return finished(tmp_path)


# --- LaTeX ----------------------------------------------------------------------------------------------------------------


def table_of(text: str) -> Table:
    return Table("t", text, pd.DataFrame({text: [text, "b"], "x": [1.5, 2.5]}), words=text)


@pytest.mark.parametrize("text", NASTY)
def test_a_text_ends_no_line_of_a_latex_table(text):
    made = latex(table_of(text))
    lines = made.splitlines()
    assert len(lines) == 9
    assert lines[0].startswith("% ")
    assert "\\input" not in "\n".join(lines[1:])
    assert made.replace("\n", "").isprintable()


@pytest.mark.parametrize(("text", "made"), [("[2pt]", "{[}2pt]"), ("*", "{*}"), ("^^M", r"\textasciicircum{}" * 2 + "M")])
def test_a_cell_is_no_option_of_the_end_of_the_row_before(text, made):
    assert escape(text) == made


def test_a_harmless_text_is_printed_as_before():
    assert escape("K = 5, 50% & n_z \u2212 a_b*c [d]") == r"K = 5, 50\% \& $n_z$ $-$ a\_b*c [d]"


# --- Markdown -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*NASTY, "# heading", "- item", "1. item", "> quote", "~~~", "=\n==", "&#35; <b>"])
def test_a_text_makes_no_block_of_a_summary(tmp_path, text):
    write(tmp_path / "s")
    made = markdown(load(tmp_path / "s"), [Section("Title", text, (), [table_of(text)])], text)
    headings = [line for line in made.splitlines() if line.startswith("#")]
    assert [line.partition(" ")[0] for line in headings] == ["#", "##", "###"]
    assert not any(line.startswith(("- ", "> ", "~~~", "1. ", "=")) for line in made.splitlines())
    assert made.replace("\n", "").isprintable()
    assert not any(mark in made.replace("\\<", "").replace("\\&", "") for mark in ("<", "&"))


def test_paragraphs_of_a_section_stay_paragraphs(tmp_path):
    write(tmp_path / "s")
    made = markdown(load(tmp_path / "s"), [Section("Title", "One.\nstill one.\n\nTwo: 3.5 of 4.")], "now")
    assert "\n\nOne. still one.\n\nTwo: 3.5 of 4.\n" in made


# --- CSV ------------------------------------------------------------------------------------------------------------------

FORMULAS = ["=cmd|' /C calc'!A0", "+1+cmd", "-2+3+cmd", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1", "=1+1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_is_no_formula(text):
    frame = pd.DataFrame({"a": [text, "b"], text: ["x", text], "c": pd.Categorical([text, "y"])})
    back = pd.read_csv(io.BytesIO(csv_of(frame)), dtype=str)
    text = text.replace("\r", "\n")  # the same to a reader, but quoted as it must be
    assert list(back.columns) == ["a", f"'{text}", "c"]
    assert back.to_numpy().tolist() == [[f"'{text}", "x", f"'{text}"], ["b", f"'{text}", "y"]]


def test_the_end_of_a_line_begins_no_cell():
    """Python quotes a cell for a line feed, but not for a carriage return."""
    (row,) = pd.read_csv(io.BytesIO(csv_of(pd.DataFrame({"a": ["x\r=1+1,y"], "b": ["z"]}))), dtype=str).to_numpy().tolist()
    assert row == ["x\n=1+1,y", "z"]


def test_numbers_and_harmless_texts_are_written_as_before():
    frame = pd.DataFrame(
        {
            "float": [-1.5, np.nan, -np.inf],
            "int": [-1, 2, 3],
            "bool": [True, False, True],
            "level": [-0.5, "relu", None],
            "text": ["-0.5", "-", "K = 5"],
            "category": pd.Categorical(["a-b", "c", "a-b"]),
        }
    )
    assert csv_of(frame) == frame.to_csv(index=False).encode()
    assert csv_of(frame.iloc[:0]) == frame.iloc[:0].to_csv(index=False).encode()


def test_every_csv_file_is_written_by_that_function():
    calls = [
        path
        for path in sorted((ROOT / "analysis").rglob("*.py")) + sorted((ROOT / "study").rglob("*.py"))
        if any(isinstance(one, ast.Attribute) and one.attr == "to_csv" for one in ast.walk(ast.parse(path.read_text())))
    ]
    assert [path.name for path in calls] == ["csv_text.py"]


# --- the terminal ---------------------------------------------------------------------------------------------------------

OWN_CODES = {
    "analysis/report/__main__.py",  # its progress line is overwritten
    "study/forecast/timing_process.py",  # for another process
    "study/cluster/local_ray.py",  # names of Ray's own processes
    "study/drive/summary.py",  # printable_lines, on stderr
    "workers/contract/errors.py",
}


def test_every_command_prints_with_that_function():
    calls = {
        str(path.relative_to(ROOT))
        for room in ("study", "workers", "analysis")
        for path in (ROOT / room).rglob("*.py")
        for one in ast.walk(ast.parse(path.read_text()))
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id == "print"
    }
    assert calls == OWN_CODES


def test_escape_codes_are_shown_and_not_obeyed(capsys):
    say("a\x1b[31mb\n\tc\x9b2J\u202e")
    assert capsys.readouterr().out == "a\\x1b[31mb\n\tc\\x9b2J\\u202e\n"
    assert exit_code_of(lambda: (_ for _ in ()).throw(CommandError("\x1b[2Jx\ny"))) == 2
    assert capsys.readouterr().err == "\\x1b[2Jx\ny\n"
    assert printable_lines("K = 5, \u2212 \u03b2") == "K = 5, \u2212 \u03b2"
    assert one_line(" a\n b\u2028\x1b") == "a b \\x1b"


def test_a_claim_of_somebody_else_prints_no_code(tmp_path, capsys):
    write(tmp_path / "s")
    claim = (
        'claims:\n- id: "X\\e[31m"\n  text: "one\\n- two\\e[2J"\n  cells: {a: {k: 1}, b: {k: 5}}\n'
        "  parts: [{value: nll, test: less, cells: [b, a], margin: 0, paired: true}]\n"
    )
    (tmp_path / "c.yaml").write_text(claim)
    claims_main([str(tmp_path / "s"), "--claims", str(tmp_path / "c.yaml"), "--csv", str(tmp_path / "c.csv")])
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert not [line for line in said.out.splitlines() if line.startswith("- two")]


# --- labels ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["\\n", "\\r", "\\e[31m", "\\0", "\\x7f", "\\x9b", "\\N", "\\L", "\\P", "\\u202e"])
@pytest.mark.parametrize("part", ["factors", "levels"])
def test_control_characters_in_labels_have_a_place(tmp_path, code, part):
    path = tmp_path / "labels.yaml"
    label = f'"a{code}b"'
    path.write_text(f"factors: {{k: {label}}}" if part == "factors" else f"levels:\n  k: {{1: VAE, 5: {label}}}")
    place = "1:14" if part == "factors" else "2:18"
    with pytest.raises(LabelError, match=rf"labels\.yaml:{place}: .*contains the control character"):
        read_labels(path)


@pytest.mark.parametrize("label", ["IWAE, K = 5", "\u00b5\u00a0= 3", "\u540d\u524d", "-5", "=x", "a\\b"])
def test_other_characters_are_labels(tmp_path, label):
    (tmp_path / "l.yaml").write_text(f"factors: {{k: '{label}'}}", encoding="utf-8")
    assert read_labels(tmp_path / "l.yaml").title_of("k") == label


def test_aliases_are_refused_before_they_grow(tmp_path):
    """550 bytes that took 4.5 GB; a process that may use 2 GB more than it has refuses them."""
    rows = [
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" if i else "a0: &a0 [x, x, x, x, x, x, x, x, x]" for i in range(11)
    ]
    (tmp_path / "labels.yaml").write_text("\n".join(rows))
    code = (
        "import resource, sys; from pathlib import Path; from analysis.loading.labels import LabelError, read_labels\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))\n"
        "try: read_labels(Path(sys.argv[1]))\n"
        "except LabelError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "labels.yaml")], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "labels.yaml:1:5: anchors and aliases (& and *) are not allowed; write the value out" in done.stdout


def test_labels_reach_every_file_harmlessly(tmp_path, capsys):
    root = tmp_path / "s"
    write(root)
    (root / "labels.yaml").write_text("levels: {k: {1: \"=cmd|' /C calc'!A0\", 5: '# [x](y)'}}\nfactors: {k: '\\input{a}$'}")
    assert report_main([str(root), "--format", "png"]) == 0
    for path in (root / "figures").glob("*.csv"):
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        assert not any(str(value).startswith(("=", "@")) for value in [*frame.columns, *frame.to_numpy().ravel()]), path
    for path in (root / "figures").glob("*.tex"):
        assert "\\input" not in path.read_text(), path
    assert "\n# [" not in (root / "report.md").read_text()


# --- leases and footers ---------------------------------------------------------------------------------------------------


def plant(store: FolderStore, **values: object) -> None:
    now = time.time()
    content = {
        "run_id": "aa",
        "host": "elsewhere",
        "machine": "m",
        "pid": 1,
        "process_start": "1",
        "started": now,
        "beat": now,
    }
    store.delete(lease_key(1, "aa"))
    assert store.create(lease_key(1, "aa"), json.dumps(content | values).encode())


BAD_LEASES = [
    {"started": 1e300},
    {"started": math.inf},
    {"started": math.nan},
    {"beat": math.inf},
    {"beat": -1e300},
    {"beat": "now"},
    {"started": True},
    {"pid": "../../etc"},
    {"pid": 10**30},
    {"pid": -1},
    {"host": 5},
    {"host": ["x"]},
    {"run_id": "../../../x"},
    {"run_id": "bb"},
    {"more": 1},
    {"host": "x" * 20_000},
]


@pytest.mark.parametrize("values", BAD_LEASES, ids=lambda values: str(values)[:30])
def test_a_lease_that_no_driver_wrote_is_ignored(tiny, capsys, values):
    store = FolderStore(tiny)
    plant(store)
    assert glance(store).alive, "the negative control"
    plant(store, **values)
    assert glance(store) is None
    for command in ("status", "stop"):
        assert main([command, "tiny", "--out", "."]) == 0
    assert "Traceback" not in capsys.readouterr().err
    assert not [path for path in tiny.parent.iterdir() if path.name not in ("tiny",)]


def test_a_lease_of_brackets_is_ignored(tiny):
    store = FolderStore(tiny)
    assert store.create(lease_key(1, "aa"), b"[" * 9_000)
    assert glance(store) is None


def test_the_host_of_a_lease_is_one_printable_line(tiny, capsys):
    plant(FolderStore(tiny), host="\x1b[2Jhome\nnext     rm -rf /")
    assert main(["status", "tiny", "--out", "."]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert [line for line in said.splitlines() if line.startswith("next ")] == [said.splitlines()[-1]]
    assert r"host \x1b[2Jhome\nnext " in sentence(glance(FolderStore(tiny)))


@pytest.mark.parametrize("seconds", [1e300, -1e300, math.inf, math.nan, 2.0**62])
def test_an_impossible_moment(seconds):
    assert moment(seconds) == "an impossible time"
    assert moment(0.0).startswith(("1970-01-01", "1969-12-31"))


BAD_FACTS = [
    ("plan", "study", 5),
    ("plan", "study", "a\n\x1b[31mb"),
    ("plan", "grid", ["x"]),
    ("plan", "factors", ["k"]),
    ("plan", "factors", {"k": 5}),
    ("plan", "provenance", "x"),
    ("epochs", "threshold", "0.1"),
    ("epochs", "threshold", math.inf),
    ("epochs", "threshold", True),
    ("epochs", "provenance", None),
    ("epochs", "checkpoint", 5),
    ("epochs", "closed", "yes"),
    ("trials", "pack_id", ["x"]),
    ("trials", "provenance", {"a": 1}),
]


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(("folder", "name", "value"), [*BAD_FACTS, ("epochs", "provenance", deep(500))])
def test_a_footer_that_nobody_wrote_is_damage(tiny, capsys, folder, name, value):
    path = min((tiny / folder).iterdir())
    is_fine = name == "provenance" and value == {"a": 1}  # the negative control
    table, facts = decode_with_footer(path.read_bytes(), path.name)
    path.write_bytes(
        encode(table, {key: facts[key] for key in facts if "sha256" not in key or key.startswith("check")} | {name: value})
    )
    if is_fine:
        assert load(tiny).is_complete
        return
    with pytest.raises(RecordError, match=f"{path.name}: damaged: its footer has no {name} of the right kind"):
        load(tiny)
    assert next(fault.key for fault in examine(FolderStore(tiny)).faults if fault.is_damage) == f"{folder}/{path.name}"
    assert main(["export", "tiny", "--out", ".", "--to", "x.tgz"]) == 3
    assert main(["status", "tiny", "--out", "."]) in (0, 3)
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err


@pytest.mark.parametrize("epoch", [math.inf, "x", None, [1]])
def test_the_epoch_of_a_trained_model_is_a_number(tiny, epoch):
    path = min((tiny / "weights").iterdir())
    tensors, facts = decode_weights(path.read_bytes(), path.name)
    assert not examine(FolderStore(tiny)).faults
    path.write_bytes(encode_weights(tensors, facts | {"epoch": epoch}))
    (fault,) = examine(FolderStore(tiny)).faults
    assert fault.key == f"weights/{path.name}"


def test_the_time_of_a_file_may_be_impossible(tiny, capsys):
    import os

    path = min((tiny / "epochs").iterdir())
    try:
        os.utime(path, (2**61, 2**61))
    except OverflowError:
        pytest.skip("this system has no such time")
    assert main(["status", "tiny", "--out", "."]) == 0
    assert encode(*decode_with_footer(path.read_bytes(), "x"))
