"""The section on the latent space shows the pictures that were written before."""

import pandas as pd

from analysis.loading.load import load
from analysis.report.computed import Computed
from analysis.report.latent import latent_section
from analysis.report.write import write_report
from tests.analysis.planted import write
from workers.store.keys import LATENT_CAPTIONS


def test_latent_pictures_are_those_that_were_written(tmp_path):
    root = tmp_path / "planted"
    write(root)
    study = load(root)
    assert latent_section(Computed(study)) is None
    written = write_report(study)
    png = next(path for path in written if path.suffix == ".png")
    captions = pd.DataFrame(
        {"name": [png.stem, "gone"], "title": ["A", "B"], "caption": ["What it shows.", ""], "number": ["4.3", ""]}
    )
    captions.to_csv(root / "figures" / LATENT_CAPTIONS, index=False)
    (picture,) = latent_section(Computed(study)).pictures
    assert (picture.number, picture.caption) == ("4.3", "What it shows.")
    assert picture.render(("png",))["png"] == png.read_bytes()
