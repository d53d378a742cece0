"""Figures and tables of whole studies: every number is that of the models."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from analysis import load
from analysis.latent.__main__ import main
from analysis.latent.make import latent
from analysis.latent.models import codes, decode, read_model, reconstruct
from analysis.latent.numbers import (
    STEPS,
    purity,
)
from tests.analysis.figures.hostile import HOSTILE
from tests.analysis.latent.trained_study import CPU, TINY, copy_of, train_study
from workers.contract.settings_table import settings_from
from workers.model.inputs import load_data


def test_every_figure_comes_as_png_pdf_and_csv(drawn):
    names = {path.stem for path in drawn.glob("latent-*.png")}
    stems = ("reconstructions", "codes", "lattice", "traversals", "classes")
    assert names == {f"latent-{stem}-bernoulli" for stem in stems}
    for name in names:
        assert (drawn / f"{name}.pdf").read_bytes()[:5] == b"%PDF-"
        assert len(pd.read_csv(drawn / f"{name}.csv"))
    others = {path.stem for path in drawn.glob("latent-*.csv")} - names
    assert others == {"latent-trials-bernoulli", "latent-images-bernoulli", "latent-captions"}


def test_a_matplotlibrc_changes_no_byte(root, drawn):
    with matplotlib.rc_context(HOSTILE):
        pictures, _, _ = latent(load(root), "bernoulli")
    for picture in pictures:
        for kind, made in picture.files.items():
            assert made == (drawn / f"{picture.name}.{kind}").read_bytes(), (picture.name, kind)


@pytest.fixture(scope="module")
def pictured(root, drawn):
    """Models, codes and cross-entropies by (n_z, seed), computed here."""
    study = load(root)
    data = load_data(settings_from({}).data, settings_from(TINY).measure, CPU)
    found = {}
    for row in study.trials.to_dict("records"):
        model = read_model(study, row["trial_id"])
        x = data.test.double().numpy()
        mean = reconstruct(model, x)
        nats = -torch.distributions.Bernoulli(torch.from_numpy(mean)).log_prob(data.test.double()).sum(1).numpy()
        found[row["n_z"], row["seed"]] = (row["trial_id"], model, codes(model, x), nats)
    return found, data


def test_tables_compare_each_trial_with_the_usual_n_z_of_its_seed(drawn, pictured):
    found, data = pictured
    classes = data.test_classes.numpy()
    table = pd.read_csv(drawn / "latent-trials-bernoulli.csv")
    assert list(zip(table["n_z"], table["seed"], strict=True)) == [(2, 0), (2, 1), (4, 0), (4, 1), (6, 0), (6, 1)]
    per_class = pd.read_csv(drawn / "latent-classes-bernoulli.csv")
    assert len(per_class) == 60
    for row in table.to_dict("records"):
        trial_id, _, z, nats = found[row["n_z"], row["seed"]]
        usual_id, _, _, usual = found[6, row["seed"]]
        assert row["trial_id"] == trial_id
        assert row["cross_entropy"] == pytest.approx(nats.mean(), rel=1e-6)
        assert row["knn_purity"] == pytest.approx(purity(z, classes).mean())
        mine = per_class[per_class["trial_id"] == trial_id]
        assert mine["class"].tolist() == list(range(10))
        assert mine["images"].tolist() == np.bincount(classes).tolist()
        np.testing.assert_allclose(mine["cross_entropy"], [nats[classes == c].mean() for c in range(10)], rtol=1e-6)
        if row["n_z"] == 6:
            assert np.isnan(row["excess_cross_entropy"])
            assert np.isnan(row["spearman_purity"])
            continue
        assert (row["reference_n_z"], row["reference_trial_id"]) == (6, usual_id)
        assert row["share_reference_better"] == pytest.approx((usual < nats).mean())
        assert row["images_reference_not_better"] == (usual >= nats).sum()
        excess = [(nats - usual)[classes == c].mean() for c in range(10)]
        np.testing.assert_allclose(mine["excess_cross_entropy"], excess, rtol=1e-5, atol=1e-6)
        together = [purity(z, classes)[classes == c].mean() for c in range(10)]
        assert row["spearman_purity"] == pytest.approx(spearmanr(np.round(together, 9), excess).statistic)


def test_drawn_numbers_are_those_of_the_models(root, drawn, pictured):
    found, data = pictured
    _, model, z, _ = found[2, 0]
    table = pd.read_csv(drawn / "latent-codes-bernoulli.csv")
    mine = table[table["n_z"] == 2]
    study = load(root)
    rows = study.activity([model.trial_id])
    order = np.argsort(-rows[rows["epoch"] == 2]["activity"].to_numpy(float))
    np.testing.assert_allclose(mine[["across", "up"]], z[:, order], rtol=1e-9)
    assert set(table["n_z"]) == {2, 6}
    lines = pd.read_csv(drawn / "latent-lattice-bernoulli.csv")
    pixels = lines[[f"pixel_{i}" for i in range(64)]].to_numpy()
    points = np.zeros((400, 2))
    points[:, order[0]], points[:, order[1]] = lines["z_across"], lines["z_up"]
    np.testing.assert_allclose(pixels, decode(model, points), atol=6e-4)
    trial = pd.read_csv(drawn / "latent-trials-bernoulli.csv").iloc[0]
    assert lines["agrees"].mean() == pytest.approx(trial["lattice_agreement"])
    assert (trial["unit_across"], trial["unit_up"]) == tuple(order)
    assert trial["activity_across"] == pytest.approx(rows[rows["epoch"] == 2]["activity"].max(), rel=1e-4)
    passes = pd.read_csv(drawn / "latent-traversals-bernoulli.csv")
    assert passes["activity"].drop_duplicates().is_monotonic_decreasing
    assert passes["z"].tolist() == 6 * STEPS.tolist()
    images = pd.read_csv(drawn / "latent-reconstructions-bernoulli.csv")
    assert images["row"].drop_duplicates().tolist() == ["test image", "as binarised", "n_z = 2", "n_z = 6"]
    assert images["class"].tolist() == 4 * list(range(10))
    assert images["image"].tolist()[:10] == [int(np.flatnonzero(data.test_classes == c)[0]) for c in range(10)]


def test_another_seed_and_the_words(root, drawn, capsys, tmp_path, unrendered):
    copied = copy_of(root, tmp_path)
    assert main([str(copied), "--seed", "1"]) == 0
    out = capsys.readouterr().out
    assert "5 nearest of 1437 training images, 97.8% right on test images" in out
    assert f"wrote {copied / 'figures' / 'latent-codes-bernoulli.png'}" in out
    table = pd.read_csv(copied / "figures" / "latent-images-bernoulli.csv")
    assert set(table["seed"]) == {1}
    # What is not drawn stays as it is.
    name = "latent-trials-bernoulli.csv"
    assert (copied / "figures" / name).read_bytes() == (drawn / name).read_bytes()


def test_deep_models_and_grey_data_of_a_class_subset(tmp_path, unrendered):
    factors = {"decoder": ["gaussian", "continuous_bernoulli"], "n_z": [1, 3], "seed": [4]}
    deep = {"model__layers_above": "6-z3", "data__input": "grey", "data__classes": "3,5,8"}
    root = train_study(tmp_path / "deep", factors, batch_norm=True, **deep)
    assert main([str(root)]) == 0
    for decoder in factors["decoder"]:
        table = pd.read_csv(root / "figures" / f"latent-trials-{decoder}.csv")
        assert table["classes"].tolist() == [3, 3]
        assert (table["unit_up"] < 3).all()
        images = pd.read_csv(root / "figures" / f"latent-reconstructions-{decoder}.csv")
        assert images["row"].drop_duplicates().tolist() == ["test image", "n_z = 1", "n_z = 3"]


def test_one_unit_one_level_and_data_without_labels(tmp_path, capsys, unrendered):
    draw = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    images = {name: draw.random((n, 5, 4), dtype=np.float32) for name, n in (("train_images", 60), ("test_images", 30))}
    np.savez(tmp_path / "data" / "mine.npz", **images)
    where = {"data__name": "npz", "data__path": str(tmp_path / "data" / "mine.npz")}
    root = train_study(tmp_path / "plain", {"decoder": ["bernoulli"], "n_z": [1], "seed": [0]}, **where)
    assert main([str(root)]) == 0
    assert "no labels" in capsys.readouterr().out
    assert {path.stem for path in (root / "figures").glob("*.png")} == {
        f"latent-{stem}-bernoulli" for stem in ("reconstructions", "codes", "lattice", "traversals")
    }
    table = pd.read_csv(root / "figures" / "latent-trials-bernoulli.csv")
    assert len(table) == 1
    assert table["knn_purity"].isna().all()
    assert table["reference_n_z"].isna().all()
    # The data have gone elsewhere; then to other data.
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / "mine.npz").rename(tmp_path / "elsewhere" / "mine.npz")
    assert main([str(root)]) == 2
    assert main([str(root), "--root", str(tmp_path / "elsewhere")]) == 0
    np.savez(tmp_path / "elsewhere" / "mine.npz", **{**images, "test_images": images["test_images"][:20]})
    assert main([str(root), "--root", str(tmp_path / "elsewhere")]) == 2
    assert "trained on other data" in capsys.readouterr().err
