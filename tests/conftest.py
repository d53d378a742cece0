"""Every annotated tensor shape of workers is checked while tests run; one thread a process, as in real runs."""

import os

from jaxtyping import install_import_hook

os.environ["OMP_NUM_THREADS"] = "1"
install_import_hook(
    [
        f"workers.{name}"
        for name in (
            "activity",
            "architecture",
            "baseline",
            "data",
            "densities",
            "evaluate",
            "final",
            "importance",
            "information",
            "layers",
            "learning",
            "model",
            "objective",
            "optimizer",
            "rng",
        )
    ],
    "beartype.beartype",
)
