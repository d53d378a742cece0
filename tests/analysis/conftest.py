import pytest
import torch

from analysis import figures

# Subsetting TrueType fonts is most of the time that a PDF takes, and no test looks at it.
figures.STYLE["pdf.fonttype"] = 3


@pytest.fixture(autouse=True)
def subnormal_numbers() -> None:
    """As in a process that never trained: a pack that ran before in this one has them flushed."""
    torch.set_flush_denormal(False)
