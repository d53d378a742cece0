"""Check the data sets of a grid, tell what they look like, and draw what the model will see of them."""

from collections.abc import Iterator
from pathlib import Path

from study.doctor.check import Check
from study.grid.design import DesignError, cells_by_settings
from study.grid.grid import Grid
from workers.contract.errors import DamagedDataError, DataError, reason_of
from workers.contract.settings import DataSettings
from workers.data.arrays import Images
from workers.data.images import load_images
from workers.data.subset import subset
from workers.data.summary import counts_of, lines_of

_SHOWN = 20


def check_data(grid: Grid) -> Iterator[Check]:
    """Check that every data set of the grid's trials is there, is readable, and has the content it should have."""
    try:
        settings = dict.fromkeys(cell.data for cell in cells_by_settings(grid))
    except DesignError:
        return  # check_space reports it
    for number, each in enumerate(settings, 1):
        try:
            images = load_images(each)
        except DamagedDataError as error:
            yield Check(3, str(error))
        except DataError as error:
            yield Check(2, str(error))
        else:
            path = Path(f"{grid.study}-data{f'-{number}' if len(settings) > 1 else ''}.png")
            yield from _seen(images, each, path)


def _seen(images: Images, settings: DataSettings, path: Path) -> Iterator[Check]:
    line, *notes = lines_of(images, settings)
    yield Check(0, f"{line}{_counts(images)}")
    yield from (Check(0, note) for note in notes)
    # matplotlib takes a second to import, which no other command should wait for.
    from study.doctor.contact_sheet import draw_sheet

    try:
        draw_sheet(subset(images, settings), settings, path)
    except OSError as error:
        reason = reason_of(error)
        yield Check(2, f"data: {path} cannot be written ({reason}); run study doctor in a folder of your own")
    else:
        yield Check(0, f"data: {path} shows training images as the model sees them; it lies in {Path.cwd()}")


def _counts(images: Images) -> str:
    counts = [f"{name}: {train:,} + {test:,}" for name, (train, test) in counts_of(images).items()]
    if not counts:
        return ""
    more = f" and {len(counts) - _SHOWN:,} more" if len(counts) > _SHOWN else ""
    return f"; training + test images of each class: {', '.join(counts[:_SHOWN])}{more}"
