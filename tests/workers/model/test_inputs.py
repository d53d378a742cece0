"""The data on the device: what is measured on is fixed, what is trained on is binarised anew."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.workers import tiny
from workers.contract.errors import DataError
from workers.contract.settings import DataSettings, MeasureSettings
from workers.data.arrays import Images
from workers.data.images import KNOWN, load_images
from workers.data.subset import subset
from workers.model.inputs import data_from, load_data, measured_at, pixel_mean, pixel_variance, training_batch
from workers.replicas.seeds import Seeds


def test_grey_levels_become_probabilities():
    grey = np.array([[[0, 51, 255]], [[255, 0, 102]]], np.uint8)
    for images in (grey, (grey / 255).astype(np.float32)):
        data = data_from(Images(images, images, None, None), "f", MeasureSettings(), tiny.CPU)
        np.testing.assert_allclose(data.train.numpy(), [[0, 0.2, 1], [1, 0, 0.4]], rtol=1e-6)
        assert data.n_x == 3
        assert data.test_classes is None
        assert data.n_classes == 0


def test_what_is_measured_on_is_fixed_and_binary():
    data, again = (load_data(DataSettings(), MeasureSettings(images=100), tiny.CPU) for _ in range(2))
    assert torch.equal(data.measured, again.measured)
    assert torch.equal(data.test, again.test)
    for images in (data.measured, data.test):
        assert set(images.unique().tolist()) == {0.0, 1.0}
    assert len(data.measured) == 100
    # Pixels that are never or always on stay so.
    assert data.test[:, data.train.amax(0) == 0].sum() < 20
    probabilities = torch.from_numpy(load_images(DataSettings()).test.reshape(360, 64))
    assert torch.equal(data.test[probabilities == 0], torch.zeros(int((probabilities == 0).sum())))
    assert torch.equal(data.test[probabilities == 1], torch.ones(int((probabilities == 1).sum())))
    error = (data.test - probabilities).sum() / (probabilities * (1 - probabilities)).sum().sqrt()
    assert abs(error) < 5


def test_fewer_images_are_some_of_the_training_images():
    images = load_images(DataSettings())
    everything = data_from(images, "f", MeasureSettings(), tiny.CPU)
    assert len(everything.measured) == 1437
    some = data_from(images, "f", MeasureSettings(images=200), tiny.CPU)
    # Where a pixel is off in a training image for certain it is off in the measured one: each has a candidate.
    off = (some.train == 0).float()
    impossible = some.measured @ off.T + (1 - some.measured) @ (some.train == 1).float().T
    assert (impossible == 0).any(1).all()


def test_classes_are_counted_over_both_parts():
    images = np.zeros((3, 1, 2), np.uint8)
    labels = np.array([0, 6, 1])
    assert data_from(Images(images, images[:1], labels, labels[:1]), "f", MeasureSettings(), tiny.CPU).n_classes == 7
    assert data_from(Images(images, images[:1], None, labels[2:]), "f", MeasureSettings(), tiny.CPU).n_classes == 2


def test_a_batch_is_binarised_anew_in_every_step(data):
    seeds = Seeds([0, 1, 0], tiny.CPU)
    images = torch.arange(20).expand(2, -1)
    one, again, next_step = (training_batch(data, seeds, images, step) for step in (1, 1, 2))
    assert one.shape == (3, 20, 64)
    assert torch.equal(one, again)
    assert torch.equal(one[0], one[2])
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one, next_step)
    assert set(one.unique().tolist()) == {0.0, 1.0}


def test_binarised_pixels_have_their_probability(data):
    seeds, images = Seeds([3], tiny.CPU), torch.arange(120)[None]
    mean = torch.stack([training_batch(data, seeds, images, step)[0] for step in range(400)]).mean(0)
    error = (mean - data.train) / (data.train * (1 - data.train) / 400).sqrt().clamp(min=1e-9)
    assert torch.equal(mean[data.train == 0], data.train[data.train == 0])
    assert torch.equal(mean[data.train == 1], data.train[data.train == 1])
    # 7,680 pixels: the largest of so many normal numbers is about 4.
    assert error.abs().max() < 5.5


@pytest.mark.parametrize("replica", [0, 1, 2])
def test_every_replica_gets_the_images_of_its_seed(data, replica):
    seeds = Seeds([7, 2, 7], tiny.CPU)
    orders = torch.stack([torch.arange(10), torch.arange(50, 60)])
    batch = training_batch(data, seeds, orders, 1)[replica]
    images = orders[seeds.index[replica]]
    assert batch[data.train[images] == 1].eq(1).all()
    assert batch[data.train[images] == 0].eq(0).all()


# ---- how pixels become inputs ----

KINDS = ("dynamic", "static", "threshold", "grey")
RNG = np.random.default_rng(1)
GREY = RNG.integers(0, 256, (30, 4, 3), dtype=np.uint8)
GREY[:, 0] = RNG.choice([0, 255], (30, 3))
GREY[:2, 1, 0] = 127, 128
ARRAYS = Images(GREY[:22], GREY[22:], None, None)
BITS = Images(*((part > 128).astype(np.float32) for part in (GREY[:22], GREY[22:])), None, None)


def of(images=ARRAYS, input="dynamic", n=10, images_redrawn=False):
    return data_from(images, "f", MeasureSettings(images=n, images_redrawn=images_redrawn), tiny.CPU, input)


def words(stream, step, part=0):
    """The generator of seed 0, written out: no trial's seed, and the numbers of the streams as they are for ever."""
    return np.random.Generator(
        np.random.Philox(key=np.array([0, stream], np.uint64), counter=np.array([0, 0, part, step], np.uint64))
    )


def uniform(shape, stream, step, part=0):
    return words(stream, step, part).random(shape, dtype=np.float32)


def pixels(images):
    return (images.reshape(len(images), -1) / 255).astype(np.float32)


def rows_measured(n=22, measured=10):
    return np.sort(words(7, 0).permutation(n)[:measured])


def test_every_kind_of_input_is_what_it_says():
    train, test, rows = pixels(GREY[:22]), pixels(GREY[22:]), rows_measured()
    once = (uniform((10, 12), 8, 0) < train[rows]) * 1.0, (uniform((8, 12), 8, 1) < test) * 1.0
    static, above = (uniform((22, 12), 8, 2) < train) * 1.0, (GREY.reshape(30, 12) >= 128) * 1.0
    grey = train[rows], test
    expected = {
        "dynamic": (train, once, grey),
        "static": (static, (static[rows], once[1]), grey),
        "threshold": (above[:22], (above[:22][rows], above[22:]), grey),
        "grey": (train, grey, once),
    }
    for kind, (inputs, readings, others) in expected.items():
        data = of(input=kind)
        found = (data.train, data.measured, data.test, data.other_measured, data.other_test)
        for one, other in zip(found, (inputs, *readings, *others), strict=True):
            np.testing.assert_array_equal(one.numpy(), other.astype(np.float32), err_msg=kind)
        assert (data.input, data.redrawn) == (kind, False)
    # What is shown to be equal above could differ: the three binary readings do.
    assert len({tuple(expected[kind][1][0].ravel()) for kind in expected}) == 4


def test_a_pixel_of_a_half_is_below_the_threshold():
    halves = np.array([[[0.5, np.nextafter(np.float32(0.5), 1), 0.4]]] * 2, np.float32)
    assert of(Images(halves, halves, None, None), "threshold").train.tolist() == [[0, 1, 0]] * 2


@pytest.mark.parametrize("kind", ["static", "threshold", "grey"])
def test_an_image_is_the_same_input_in_every_step_and_of_every_seed(kind):
    data, images = of(input=kind), torch.tensor([[3, 0, 21], [5, 5, 1]])
    seeds = Seeds([4, 9, 4], tiny.CPU)
    for step in (1, 2, 100):
        batch = training_batch(data, seeds, images, step)
        assert torch.equal(batch, data.train[images[[0, 1, 0]]])
    assert not data.binarised_anew


def test_dynamic_is_what_is_taken_by_default():
    named, default = of(input="dynamic"), data_from(ARRAYS, "f", MeasureSettings(images=10), tiny.CPU)
    assert torch.equal(named.measured, default.measured)
    assert default.binarised_anew
    seeds, images = Seeds([4], tiny.CPU), torch.arange(22)[None]
    one, other = (training_batch(default, seeds, images, step) for step in (1, 2))
    assert not torch.equal(one, other)
    drawn = np.random.Generator(np.random.Philox(key=np.array([4, 2], np.uint64), counter=np.array([0, 0, 0, 2], np.uint64)))
    np.testing.assert_array_equal(other[0].numpy(), drawn.random((22, 12), dtype=np.float32) < pixels(GREY[:22]))


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_that_are_bits_are_the_inputs_and_draw_nothing(kind, monkeypatch):
    def fail(*_, **__):
        pytest.fail("drew for pixels that are 0 or 1")

    monkeypatch.setattr(Seeds, "uniform", fail)
    monkeypatch.setattr("workers.model.inputs._binarised_once", fail)
    data = of(BITS, kind)
    train, test = BITS.train.reshape(22, 12), BITS.test.reshape(8, 12)
    np.testing.assert_array_equal(data.train, train)
    np.testing.assert_array_equal(data.measured, train[rows_measured()])
    np.testing.assert_array_equal(data.test, test)
    assert data.other_measured is data.other_test is None
    images = torch.arange(22).expand(2, -1)
    assert torch.equal(training_batch(data, Seeds([1, 2], tiny.CPU), images, 3), data.train.expand(2, -1, -1))
    redrawn = measured_at(of(BITS, kind, images_redrawn=True), 5)
    np.testing.assert_array_equal(redrawn, train[np.sort(words(10, 5).permutation(22)[:10])])


def test_bits_would_come_out_of_the_draws_too():
    """Why leaving the draws out changes no number: a share of 0 is never on, one of 1 always."""
    bits = BITS.train.reshape(22, 12)
    for step in range(50):
        np.testing.assert_array_equal(uniform(bits.shape, 2, step) < bits, bits)


@pytest.mark.parametrize("part", ["train", "test"])
def test_bits_in_one_part_alone_are_data_to_binarise(part):
    mixed = dataclasses.replace(ARRAYS, **{part: (getattr(ARRAYS, part) > 128) * np.uint8(255)})
    data = of(mixed)
    assert data.binarised_anew
    assert data.other_test is not None
    assert set(data.test.unique().tolist()) == {0.0, 1.0}


def test_settings_say_the_kind_of_input():
    grey, dynamic = (load_data(DataSettings(input=kind), MeasureSettings(), tiny.CPU) for kind in ("grey", "dynamic"))
    assert torch.equal(grey.other_measured, dynamic.measured)
    assert torch.equal(grey.other_test, dynamic.test)
    assert torch.equal(dynamic.other_test, grey.test)
    assert grey.fingerprint == dynamic.fingerprint
    assert len(grey.test.unique()) == 17


# ---- images to measure on that are drawn anew ----


@pytest.mark.parametrize("kind", KINDS)
def test_images_to_measure_on_stay_unless_asked(kind):
    data = of(input=kind)
    assert all(measured_at(data, epoch) is data.measured for epoch in (0, 1, 300))


@pytest.mark.parametrize("kind", KINDS)
def test_redrawn_images_are_a_function_of_the_epoch(kind):
    data, again = (of(input=kind, images_redrawn=True) for _ in range(2))
    for epoch in (3, 0, 7):
        rows = np.sort(words(10, epoch).permutation(22)[:10])
        expected = data.train.numpy()[rows]
        if kind == "dynamic":
            expected = uniform((10, 12), 10, epoch, 1) < expected
        for one in (data, again):
            found = measured_at(one, epoch)
            np.testing.assert_array_equal(found.numpy(), expected)
            assert found.dtype == torch.float32
    drawn = [measured_at(data, epoch) for epoch in range(5)]
    assert len({tuple(images.flatten().tolist()) for images in (data.measured, *drawn)}) == 6
    # It is the measurement alone that is drawn anew.
    assert torch.equal(data.measured, of(input=kind).measured)
    assert torch.equal(data.train, of(input=kind).train)


def test_redrawing_all_images_binarises_them_anew():
    stay, anew = (of(ARRAYS, kind, images_redrawn=True, n=10_000) for kind in ("static", "dynamic"))
    assert torch.equal(measured_at(stay, 1), stay.train)
    assert not torch.equal(measured_at(anew, 1), measured_at(anew, 2))


# ---- mean and variance of a pixel ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("images", [ARRAYS, BITS], ids=["grey", "bits"])
def test_moments_of_a_pixel(kind, images):
    data = of(images, kind)
    inputs = data.train.numpy().astype(np.float64)
    mean, variance = pixel_mean(data), pixel_variance(data)
    assert mean.dtype == variance.dtype == torch.float64
    np.testing.assert_allclose(mean, inputs.sum(0) / 22, rtol=1e-12)
    deviation = ((inputs - inputs.mean(0)) ** 2).sum(0) / 22
    if kind == "dynamic":
        # Total variance: of the probabilities over images, and of a draw within an image.
        deviation += (inputs * (1 - inputs)).mean(0)
    np.testing.assert_allclose(variance, deviation, rtol=1e-12, atol=1e-15)
    if images is ARRAYS and kind == "dynamic":
        assert not np.allclose(variance, inputs.var(0), rtol=0.1)


def test_moments_are_those_of_the_batches():
    data, seeds, images = of(), Seeds([3], tiny.CPU), torch.arange(22)[None]
    inputs = torch.cat([training_batch(data, seeds, images, step)[0] for step in range(2000)]).double()
    p, n = pixel_mean(data), len(inputs)
    assert ((inputs.mean(0) - p).abs() <= 5 * (p * (1 - p) / n).sqrt()).all()
    torch.testing.assert_close(pixel_variance(data), inputs.var(0, correction=0), rtol=0.05, atol=0.005)


def test_the_variance_of_a_pixel_that_never_changes_is_0():
    never = np.full((1000, 1, 2), 0.1, np.float32)
    never[:, 0, 1] = 0.7
    assert pixel_variance(of(Images(never, never, None, None), "grey")).abs().max() < 1e-30


# ---- images of some classes ----


NUMBERED = Images(
    np.arange(200, dtype=np.uint8)[:, None, None],
    np.arange(60, dtype=np.uint8)[:, None, None],
    np.random.default_rng(2).integers(0, 5, 200),
    np.random.default_rng(3).integers(0, 5, 60),
)


def chosen(images, classes, kind="classes"):
    return subset(images, DataSettings(classes=classes, subset=kind))


def same_images(one, other):
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(Images))


@pytest.mark.parametrize("kind", ["classes", "random"])
def test_all_classes_change_nothing(kind):
    assert chosen(NUMBERED, "all", kind) is NUMBERED
    unlabelled = dataclasses.replace(NUMBERED, train_labels=None, test_labels=None)
    assert chosen(unlabelled, "all", kind) is unlabelled
    assert same_images(chosen(NUMBERED, [0, 1, 2, 3, 4], kind), NUMBERED)
    # Control: one class less is another data set.
    assert not same_images(chosen(NUMBERED, [0, 1, 2, 3], kind), NUMBERED)


@pytest.mark.parametrize("classes", [[0], [4, 1], [1, 2, 3]], ids=str)
def test_images_of_the_named_classes_are_kept(classes):
    found = chosen(NUMBERED, classes)
    for part in ("train", "test"):
        labels = getattr(NUMBERED, f"{part}_labels").tolist()
        kept = [(number, label) for number, label in enumerate(labels) if label in classes]
        numbers = getattr(found, part)[:, 0, 0].tolist()
        assert list(zip(numbers, getattr(found, f"{part}_labels").tolist(), strict=True)) == kept


@pytest.mark.parametrize("classes", [[0], [4, 1], [1, 2, 3]], ids=str)
def test_as_many_images_of_all_classes(classes):
    found = chosen(NUMBERED, classes, "random")
    n = sum(label in classes for label in NUMBERED.train_labels.tolist())
    numbers = found.train[:, 0, 0].tolist()
    assert numbers == np.sort(words(9, 0).permutation(200)[:n]).tolist()
    assert len(set(numbers)) == n
    assert found.train_labels.tolist() == NUMBERED.train_labels[numbers].tolist()
    assert set(found.train_labels.tolist()) == {0, 1, 2, 3, 4}
    assert found.test is NUMBERED.test
    assert found.test_labels is NUMBERED.test_labels
    assert same_images(found, chosen(NUMBERED, classes, "random"))


def test_a_random_subset_needs_no_labels_of_the_test():
    found = chosen(dataclasses.replace(NUMBERED, test_labels=None), [0], "random")
    assert (len(found.test), found.test_labels) == (60, None)


def test_a_class_is_chosen_however_it_is_written():
    assert same_images(chosen(NUMBERED, "3,1,1"), chosen(NUMBERED, [1, 3]))


def test_images_are_set_aside_before_classes_are_chosen():
    whole = load_images(DataSettings())
    rest = slice(400, None)
    for kind in ("classes", "random"):
        settings = DataSettings(classes=[1, 2, 3, 4, 5], subset=kind, n_valid=400)
        data = load_data(settings, MeasureSettings(), tiny.CPU)
        member = np.isin(whole.train_labels[rest], [1, 2, 3, 4, 5])
        rows = np.sort(words(9, 0).permutation(1037)[: member.sum()]) if kind == "random" else np.flatnonzero(member)
        np.testing.assert_array_equal(data.train, whole.train[rest][rows].reshape(-1, 64))
        # The data are the same, so the fingerprint is: `data.classes` itself makes another trial.
        assert data.fingerprint == KNOWN["digits"].fingerprint
        tested = set(data.test_classes.tolist())
        assert tested == ({1, 2, 3, 4, 5} if kind == "classes" else set(range(10)))
        assert data.n_classes == max(tested) + 1
        assert len(data.test_classes) == len(data.test)


def test_classes_that_are_not_there_are_refused_here_too():
    with pytest.raises(DataError, match=r"data\.classes: the training images of digits have no class 7"):
        chosen(NUMBERED, [7])
