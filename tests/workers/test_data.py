"""The data on the device: what is measured on is fixed, what is trained on is binarised anew."""

import numpy as np
import pytest
import tiny
import torch

from workers.data import data_from, load_data, training_batch
from workers.images import Images, load_images
from workers.rng import Seeds
from workers.settings import DataSettings, MeasureSettings


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
