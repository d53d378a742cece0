"""Compiles every kernel that a GPU would run for an NVIDIA H100, on a machine without one; a script that test_kernels.py runs.

Triton is made to compile in place of launching, so the numbers are of no account. Prints a line a kernel and set of types: its
name and the bytes of machine code.
"""

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from triton.runtime.jit import JITFunction

from tests.workers.variants import DEEP_SOFTPLUS, GAUSSIAN, NORMED, learner_of, settings_of
from workers.kernels import available as kernels
from workers.measure.every_epoch import measure

HOPPER = GPUTarget("cuda", 90, 32)
TYPES = {torch.float32: "*fp32", torch.int64: "*i64"}
compiled: dict[tuple, int] = {}


def compile_only(function, *args, grid, warmup, **kwargs):
    signature, constants = {}, {}
    for place, (parameter, value) in enumerate(zip(function.params, args, strict=True)):
        if parameter.is_constexpr:
            signature[parameter.name], constants[(place,)] = "constexpr", value
        elif isinstance(value, tuple):
            signature[parameter.name] = tuple(type_of(part) for part in value)
            constants |= {(place, i): part for i, part in enumerate(value) if type_of(part) == "constexpr"}
        else:
            signature[parameter.name] = type_of(value)
            constants |= {(place,): value} if type_of(value) == "constexpr" else {}
    key = function.__name__, *signature.items(), *constants.items()
    if key not in compiled:
        source = ASTSource(fn=function, signature=signature, constexprs=constants)
        compiled[key] = len(compile(source, target=HOPPER).asm["cubin"])
        print(function.__name__, compiled[key], flush=True)


def type_of(value):
    if isinstance(value, torch.Tensor):
        return TYPES[value.dtype]
    if isinstance(value, float):
        return "fp32"
    # Triton makes a constant of a one, too.
    return "constexpr" if value == 1 else "i32" if abs(value) < 2**31 else "i64"


def main():
    JITFunction.run = compile_only
    kernels.DEVICES.append("cpu")
    sampled, padded = {"k": 3}, {"k": 2}
    for cell in ({"k": 1}, sampled, {**sampled, **GAUSSIAN}, {**sampled, **DEEP_SOFTPLUS}, {**sampled, **NORMED}, padded):
        common = {"training.batch_size": 100}
        widths = (3, 11) if cell is padded else (3, 3)
        members = [settings_of(cell, common, {"seed": seed, "n_z": widths[seed]}) for seed in (0, 1)]
        learner = learner_of(*members, on_device=True)
        learner.train_epoch(1)
        data = learner._data
        measure(learner.parameters, learner.architecture, data, learner.seeds, learner.k, 1)


if __name__ == "__main__":
    main()
