"""What `study doctor --data` and a run tell of a data set, and the picture of what the model sees."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.commands.main import main
from study.commands.run import main as run
from study.doctor import contact_sheet
from study.doctor.contact_sheet import draw_sheet
from workers.contract.settings import DataSettings
from workers.data.images import load_images
from workers.data.summary import lines_of

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 6, 5), dtype=np.uint8)
NAMES = np.array(["cat", "dog", "a\x1b[31mpe $x_"])[np.arange(40) % 3]

GRID = """
study: mine
data: {name: npz, path: mine.npz, DATA}
factors: {k: [1], n_z: [2], seed: [0]}
model: {hidden: [4]}
training: {epochs: 1}
measure: {images: 20, nll_samples: 2, secondary_samples: 2}
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(data="input: dynamic", **arrays):
    np.savez("mine.npz", **arrays)
    Path("mine.yaml").write_text(GRID.replace("DATA", data))
    return DataSettings(name="npz", path="mine.npz")


def data_lines(capsys, code=None):
    found = main(["doctor", "--data", "mine.yaml"])
    assert code is None or found == code
    said = capsys.readouterr()
    assert said.err == ""
    return [line for line in said.out.splitlines() if line[9:].startswith(("data", "note"))]


def test_the_doctor_tells_what_it_makes_of_a_file_and_where_its_picture_lies(capsys):
    write(images=GREY, labels=np.array(["cat", "dog"])[np.arange(40) % 2])
    line, picture = data_lines(capsys)
    assert line.startswith(
        "ok       data: mine.npz, 32 training and 8 test images of 6 x 5; pixels uint8 from 0 to 255, divided by 255, "
    )
    found = load_images(DataSettings(name="npz", path="mine.npz"))
    counts = [np.bincount(labels) for labels in (found.train_labels, found.test_labels)]
    assert line.endswith(
        f"{found.train.mean() / 255:.1%} become 1 when binarised; 2 classes (cat, dog); training + test images of each class: "
        f"cat: {counts[0][0]} + {counts[1][0]}, dog: {counts[0][1]} + {counts[1][1]}"
    )
    assert picture == f"ok       data: mine-data.png shows training images as the model sees them; it lies in {Path.cwd()}"
    with Image.open("mine-data.png") as opened:
        assert opened.size[0] == 1200


def test_a_refused_file_is_a_problem_without_a_picture(capsys):
    write(images=GREY.astype(float))
    (line,) = data_lines(capsys, 2)
    assert line.startswith("problem  data.path: mine.npz: images is float64 of shape (40, 6, 5) from 0 to 255; allowed are")
    assert not Path("mine-data.png").exists()


def test_a_picture_that_cannot_be_written_is_a_problem(capsys):
    write(images=GREY)
    Path("mine-data.png").mkdir()
    assert data_lines(capsys, 2)[1].startswith("problem  data: mine-data.png cannot be written (Is a directory); run study")


def test_every_way_to_read_the_data_has_its_line_and_its_picture(capsys):
    write(images=GREY, labels=np.arange(40) % 2, data="n_valid: 0")
    Path("mine.yaml").write_text(Path("mine.yaml").read_text().replace("k: [1]", "k: [1], data.input: [grey, threshold]"))
    lines = data_lines(capsys)
    assert len(lines) == 4
    assert "; pixels uint8 from 0 to 255, divided by 255, mean 0." in lines[0]
    assert "% are above the threshold; 2 classes (0, 1);" in lines[2]
    assert {path.name for path in Path().glob("*.png")} == {"mine-data-1.png", "mine-data-2.png"}


def test_a_run_tells_the_same_before_it_trains(capsys):
    settings = write(images=GREY, labels=np.arange(40))
    assert run(["mine.yaml", "--executor", "inline"]) == 0
    said = capsys.readouterr().out.splitlines()
    line, note = lines_of(load_images(settings), settings)
    assert line in said
    assert note in said
    assert "40 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 30 more)" in line
    assert note == (
        "note: the labels name 40 classes for 40 images, so numbers per class say little; if the labels are no classes, leave "
        "them out of the file"
    )


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": GREY // 128}, "pixels uint8 from 0 to 1, taken as they are, "),
        ({"images": GREY / 255}, "pixels float64 from 0 to 1, taken as they are, "),
        ({"images": GREY}, "% become 1 when binarised; no labels"),
        ({"images": GREY, "labels": np.full(40, 20231129)}, "; 1 class (20231129)"),
    ],
    ids=["bits", "floats", "no labels", "one class"],
)
def test_the_line_names_range_and_classes(arrays, words):
    settings = write(**arrays)
    (line,) = lines_of(load_images(settings), settings)
    assert words in line


def test_rows_that_cannot_be_squares_are_noted():
    settings = write(images=GREY.reshape(40, 30))
    assert lines_of(load_images(settings), settings)[1] == (
        "note: rows of 30 pixels are drawn as lines; data.image_size: [height, width] draws them as pictures"
    )
    assert len(lines_of(load_images(settings.model_copy(update={"image_size": (6, 5)})), settings)) == 1


# ---- The picture ----


def sheets(monkeypatch, settings):
    """Both sheets as they are drawn, cut into images of the first row."""
    images, drawn = load_images(settings), []
    sheet_of = contact_sheet._sheet
    monkeypatch.setattr(contact_sheet, "_sheet", lambda *given: drawn.append(sheet_of(*given)) or drawn[-1])
    draw_sheet(images, settings, Path("sheet.png"))
    monkeypatch.undo()
    return images, drawn


@pytest.mark.parametrize("kind", ["dynamic", "static", "threshold", "grey"])
def test_the_picture_holds_the_training_images_and_what_the_model_sees_of_them(monkeypatch, kind, tmp_path):
    settings = write(images=GREY, labels=NAMES).model_copy(update={"input": kind})
    images, (read, seen) = sheets(monkeypatch, settings)
    for row in range(3):
        first = images.train[images.train_labels == row][:8] / np.float32(255)
        for column, image in enumerate(first):
            place = slice(7 * row, 7 * row + 6), slice(6 * column, 6 * column + 5)
            np.testing.assert_array_equal(read[place], image)
            if kind == "grey":
                np.testing.assert_array_equal(seen[place], image)
            elif kind == "threshold":
                np.testing.assert_array_equal(seen[place], image > 0.5)
            else:
                assert set(np.unique(seen[place])) <= {0, 1}
                assert (seen[place] >= image).all() or (seen[place][image == 0] == 0).all()
    if kind in ("dynamic", "static"):
        # A draw of each pixel from its grey level: their means agree within five standard errors.
        assert abs(np.nanmean(seen) - np.nanmean(read)) < 5 * 0.5 / np.sqrt((~np.isnan(read)).sum())


@pytest.mark.parametrize("n", [2, 9, 40])
def test_images_without_labels_and_few_images_have_their_picture(n):
    settings = write(images=GREY[:n])
    draw_sheet(load_images(settings), settings, Path("sheet.png"))
    assert Path("sheet.png").read_bytes().startswith(b"\x89PNG")


def test_names_of_any_letters_and_a_matplotlibrc_draw_without_a_word(monkeypatch):
    """Neither a formula in a name, a letter without a glyph, nor TeX that the user asked for ends a picture."""
    import matplotlib

    settings = write(images=GREY, labels=np.array(["$x_", "\u4e5d", "long " * 30])[np.arange(40) % 3])
    with warnings.catch_warnings(), matplotlib.rc_context({"text.usetex": True}):
        warnings.simplefilter("error")
        draw_sheet(load_images(settings), settings, Path("sheet.png"))
    assert Path("sheet.png").is_file()


def test_a_name_of_a_class_does_not_speak_to_the_terminal(capsys):
    write(images=GREY, labels=NAMES)
    assert "\x1b" not in "".join(data_lines(capsys))
