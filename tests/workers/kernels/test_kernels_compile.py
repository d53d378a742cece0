"""Every kernel becomes machine code for an NVIDIA GPU, by Triton's own assembler, which needs no GPU."""

import ast
import os
import subprocess
import sys

import pytest

from tests import ROOT

pytestmark = pytest.mark.slow


def kernels_of(path):
    """Functions that are launched: those of Triton that give nothing back, but for what they call themselves."""
    functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    jitted = [f for f in functions if any(ast.unparse(decorator) == "triton.jit" for decorator in f.decorator_list)]
    called = {ast.unparse(node.func) for f in jitted for node in ast.walk(f) if isinstance(node, ast.Call)}
    return {f.name for f in jitted} - called


def test_every_kernel_compiles(tmp_path):
    """What the interpreter forgives ends here."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.workers.kernels.compiling"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    compiled = {line.split()[0] for line in done.stdout.splitlines()}
    written = set().union(*map(kernels_of, (ROOT / "workers/kernels").glob("*.py")))
    assert len(written) > 12
    assert written == compiled
