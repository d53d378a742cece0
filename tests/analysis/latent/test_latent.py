import json
import subprocess
import sys
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from scipy.stats import spearmanr

from analysis import load
from analysis.latent import drawing as latent_figures
from analysis.latent.__main__ import main
from analysis.latent.drawing import Row
from analysis.latent.models import codes, decode, read_model, reconstruct
from analysis.latent.numbers import (
    NEIGHBOURS,
    REACH,
    STEPS,
    agreement,
    cross_entropy,
    fit_classifier,
    lattice,
    plane_row,
    purity,
    silhouettes,
    spearman,
    traversal,
)
from tests.analysis.planted import SMALL, write
from tests.workers import reference
from workers.contract.errors import RecordError
from workers.contract.settings_table import settings_from
from workers.contract.trial import Pack, pack_id_of, trial_of
from workers.data.images import known
from workers.model.architecture import architecture_of, initial_parameters, initial_statistics
from workers.model.inputs import load_data
from workers.store.folder import FolderStore
from workers.store.keys import weights_key
from workers.store.plan_log import append_entry
from workers.store.weights_file import decode_weights, encode_weights
from workers.train.checkpoint import State, weights_to_bytes
from workers.train.loop import train

CPU = torch.device("cpu")
TINY = {
    "k": 2,
    "model.hidden": (12,),
    "training.epochs": 2,
    "measure.images": 200,
    "measure.nll_samples": 2,
    "measure.secondary_samples": 2,
}
ID = "0123456789abcdef"


def train_study(root, factors, **settings):
    """A study trained for real, a pack a cell."""
    store, packs, trained = FolderStore(root), {}, []
    for levels in product(*factors.values()):
        values = dict(zip(factors, levels, strict=True))
        whole = settings_from({**TINY, **values, **{k.replace("__", "."): v for k, v in settings.items()}})
        trial = trial_of(whole, known(whole.data).fingerprint)
        packs.setdefault(tuple(v for n, v in values.items() if n != "seed"), []).append(trial)
    for trials in packs.values():
        pack = Pack(pack_id=pack_id_of([t.trial_id for t in trials], None, 0), trials=tuple(trials), borders=(2,))
        data = load_data(trials[0].settings.data, trials[0].settings.measure, CPU)
        trained.append((pack, data))
    footer = {"study": root.name, "grid": "study: x", "factors": dict(factors), "created": "2025-01-02T03:04:05+00:00"}
    assert append_entry(store, 1, [pack for pack, _ in trained], footer)
    for pack, data in trained:
        train(pack, data, store, device=CPU, attempt="a" * 16)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    factors = {"decoder": ["bernoulli"], "n_z": [2, 4, 6], "seed": [0, 1]}
    return train_study(tmp_path_factory.mktemp("latent") / "tiny", factors, batch_norm=True)


@pytest.fixture(scope="module")
def drawn(root):
    assert main([str(root)]) == 0
    return root / "figures"


@pytest.fixture
def unrendered(monkeypatch):
    """Figures are drawn but made into no bytes, which is most of the time."""
    monkeypatch.setattr("analysis.latent.pictures.render", lambda *args: {"png": b"", "pdf": b""})


def copy_of(root, tmp_path):
    target = tmp_path / "copy"
    for path in root.rglob("*"):
        if path.is_file() and "figures" not in path.parts and "checkpoints" not in path.parts:
            (target / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(root)).write_bytes(path.read_bytes())
    return target


# --- models -------------------------------------------------------------------------------------------------------------

CELLS = {
    "bernoulli": {},
    "batch norm": {"batch_norm": True, "model.bn_scope": "hidden_and_latent"},
    "gaussian tanh": {"decoder": "gaussian", "model.encoder_mean_head": "sigmoid", "model.activation": "tanh"},
    "gaussian clamped": {"decoder": "gaussian", "model.decoder_logvar": "linear_clamped", "model.activation": "relu"},
    "gaussian global": {"decoder": "gaussian", "model.decoder_logvar": "global", "batch_norm": True},
    "gaussian fixed": {"decoder": "gaussian", "model.decoder_logvar": "fixed", "model.encoder_mean_head": "activation"},
    "continuous": {"decoder": "continuous_bernoulli", "model.activation": "leaky_relu"},
    "deep": {"model.layers_above": "7-6-z4-5-z2", "batch_norm": True, "model.bn_scope": "hidden_and_latent"},
    "deep, no batch norm": {"model.layers_above": "6-z2", "decoder": "gaussian", "model.encoder_mean_head": "sigmoid"},
}


def store_random(root, **values):
    """Weights of random size, stored as a worker does; and what they were."""
    settings = settings_from({"n_z": 5, "model.hidden": (9, 8), **values})
    architecture = architecture_of(settings, 16)
    draw = torch.Generator().manual_seed(5)

    def noisy(tensor):
        return tensor + 0.5 * torch.randn(tensor.shape, generator=draw)

    parameters = {name: noisy(t) for name, t in initial_parameters(architecture, [0, 1], CPU).items()}
    statistics = {
        name: (noisy(mean), (variance + torch.rand(variance.shape, generator=draw)))
        for name, (mean, variance) in initial_statistics(architecture, 2, CPU).items()
    }
    facts = {"trial_id": ID, "epoch": 7, "settings": settings.model_dump(mode="json")}
    state = State(7, 70, parameters, {}, (None, None), 1.0)
    assert FolderStore(root).create(weights_key(ID, 7), weights_to_bytes(state, 1, facts, statistics))
    return settings, parameters, {name: (m[1, 0].double(), v[1, 0].double()) for name, (m, v) in statistics.items()}


@pytest.mark.parametrize("values", CELLS.values(), ids=CELLS)
def test_outputs_are_those_of_the_float64_reference(tmp_path, values):
    settings, parameters, statistics = store_random(tmp_path, **values)
    model = read_model(tmp_path, ID)
    assert (model.epoch, model.settings) == (7, settings)
    other = reference.Model(parameters, settings, replica=1)
    x = torch.rand(1200, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)  # more than one part
    means = [x]
    for layer in range(len(other.layers)):
        means.append(other.posterior(means[-1], statistics, layer=layer).loc)

    def pixels(z):
        h = other.hidden("decoder", z, statistics)
        if settings.decoder == "gaussian":
            return torch.sigmoid(other.affine("decoder.mean", h))
        logits = other.affine("decoder.logits", h)
        if settings.decoder == "bernoulli":
            return torch.sigmoid(logits)
        # torch's ContinuousBernoulli ends at logits of 36.
        return 0.5 + 0.5 / torch.tanh(logits / 2) - 1 / logits

    with torch.no_grad():
        # The hidden layers' softplus is hand-written, to 1e-7.
        tolerance = {"rtol": 1e-6, "atol": 1e-7}
        np.testing.assert_allclose(codes(model, x.numpy()), means[-1].numpy(), **tolerance)
        np.testing.assert_allclose(codes(model, x.numpy(), layer=0), means[1].numpy(), **tolerance)
        np.testing.assert_allclose(reconstruct(model, x.numpy()), pixels(means[1]).numpy(), **tolerance)
        z = [*[None] * (len(other.layers) - 1), torch.linspace(-3, 3, 20 * other.layers[-1][1]).double().reshape(20, -1)]
        for layer in reversed(range(len(other.layers) - 1)):
            z[layer] = other.prior(layer, z, statistics).loc
        np.testing.assert_allclose(decode(model, z[-1].detach().numpy()), pixels(z[0]).numpy(), **tolerance)


def test_planted_weights_give_the_codes_and_pixels_that_were_planted(tmp_path):
    settings = settings_from({"n_z": 2, "model.hidden": (4,), "model.activation": "relu"})
    weights = {
        "encoder.hidden0.weight": torch.eye(4),
        "encoder.hidden0.bias": torch.zeros(1, 4),
        "encoder.mean.weight": torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0], [-1.0, 0.0]]),
        "encoder.mean.bias": torch.tensor([[0.5, -1.0]]),
        "encoder.log_variance.weight": torch.zeros(4, 2),
        "encoder.log_variance.bias": torch.zeros(1, 2),
        "decoder.hidden0.weight": torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]]),
        "decoder.hidden0.bias": torch.zeros(1, 4),
        "decoder.logits.weight": torch.eye(4),
        "decoder.logits.bias": torch.zeros(1, 4),
    }
    facts = {"trial_id": ID, "epoch": 3, "settings": settings.model_dump(mode="json")}
    state = State(3, 30, {name: tensor[None] for name, tensor in weights.items()}, {}, (None,), 1.0)
    FolderStore(tmp_path).create(weights_key(ID, 3), weights_to_bytes(state, 0, facts, {}))
    model = read_model(str(tmp_path), ID)
    x = np.array([[1.0, 0.0, 1.0, 0.0], [0.25, 0.5, 0.0, 1.0]])
    assert codes(model, x).tolist() == [[1.5, -1.0], [-0.25, 0.0]]
    expected = 1 / (1 + np.exp(-np.array([[1.5, 0, 0, 1.0], [0, 0.25, 0, 0]])))
    np.testing.assert_allclose(reconstruct(model, x), expected, rtol=1e-12)
    np.testing.assert_allclose(decode(model, np.array([[1.5, -1.0], [-0.25, 0.0]])), expected, rtol=1e-12)


def test_the_longest_training_is_read_unless_another_is_asked_for(tmp_path):
    store_random(tmp_path)
    store = FolderStore(tmp_path)
    raw = store.read(weights_key(ID, 7))
    for epoch in (900, 1_000_000):
        store.create(weights_key(ID, epoch), edited(raw, facts=lambda f, epoch=epoch: f.update(epoch=epoch)))
    assert read_model(tmp_path, ID).epoch == 1_000_000
    assert read_model(tmp_path, ID, epochs=7).epoch == 7
    with pytest.raises(RecordError, match=r"000008\.safetensors: .*missing"):
        read_model(tmp_path, ID, epochs=8)
    with pytest.raises(RecordError, match=r"weights/ffffffffffffffff-\*\.safetensors: .*missing"):
        read_model(tmp_path, "f" * 16)


# --- numbers ------------------------------------------------------------------------------------------------------------


def test_cross_entropy_is_that_of_bernoulli_pixels():
    x, mean = np.array([[0.0, 1.0, 0.25], [1.0, 1.0, 1.0]]), np.array([[0.5, 0.5, 0.5], [1.0, 0.0, 0.5]])
    np.testing.assert_allclose(cross_entropy(x, mean), [3 * np.log(2), -np.log(1e-6) + np.log(2) + 1e-6], rtol=1e-9)


def test_purity_leaves_the_code_itself_out():
    draw = np.random.default_rng(0)
    found, classes = draw.normal(size=(60, 3)), draw.integers(0, 4, 60)
    for i, share in enumerate(purity(found, classes)):
        distance = ((found - found[i]) ** 2).sum(1)
        near = [j for j in np.argsort(distance) if j != i][:NEIGHBOURS]
        assert share == pytest.approx((classes[near] == classes[i]).mean())


def test_silhouettes_follow_their_definition_and_need_two_classes():
    found, classes = np.array([[0.0], [1.0], [5.0], [7.0]]), np.array([3, 3, 8, 8])
    np.testing.assert_allclose(silhouettes(found, classes), [(6 - 1) / 6, (5 - 1) / 5, (4.5 - 2) / 4.5, (6.5 - 2) / 6.5])
    assert np.isnan(silhouettes(found, np.zeros(4, int))).all()


def test_spearman_is_scipys_and_knows_when_there_is_none():
    draw = np.random.default_rng(1)
    a, b = draw.integers(0, 5, 12).astype(float), draw.normal(size=12)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert spearman(np.array([1, 2, 3, np.nan]), np.array([3, 2, 1, 9.0])) == pytest.approx(-1)
    third = 0.1 + 0.2
    assert third > 0.3
    assert spearman(np.array([third, 0.3, 1.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(np.sqrt(3) / 2)
    assert np.isnan(spearman(a, np.ones(12)))
    assert np.isnan(spearman(a[:2], b[:2]))


def test_the_lattice_runs_across_the_first_unit_and_down_the_second():
    points = lattice(4, (2, 0)).reshape(20, 20, 4)
    assert not points[..., [1, 3]].any()
    np.testing.assert_allclose(points[0, :, 2], np.linspace(-3, 3, 20))
    np.testing.assert_allclose(points[:, 5, 0], np.linspace(3, -3, 20))
    assert lattice(1, (0,)).shape == (20, 1)
    moved = traversal(np.array([1, 0])).reshape(2, len(STEPS), 2)
    np.testing.assert_array_equal(moved[0], np.stack([np.zeros(7), STEPS], 1))
    np.testing.assert_array_equal(moved[1], np.stack([STEPS, np.zeros(7)], 1))


def test_agreement_compares_with_the_class_of_the_nearest_code():
    draw = np.random.default_rng(2)
    points, found = lattice(3, (0, 1)), draw.normal(size=(50, 3))
    classes, read = draw.integers(0, 3, 50), draw.integers(0, 3, 400)
    distance = np.linalg.norm(points[:, None] - found, axis=2)
    table = agreement(points, read, found, classes)
    assert table["nearest_class"].tolist() == classes[distance.argmin(1)].tolist()
    np.testing.assert_allclose(table["distance"], distance.min(1))
    images = draw.normal(size=(30, 4))
    classifier = fit_classifier(images, np.arange(30) % 3, images, np.arange(30) % 3)
    row = plane_row(table, (0, 1), classifier)
    agrees = read == classes[distance.argmin(1)]
    near = distance.min(1) <= 6 / 19
    assert row["lattice_agreement"] == pytest.approx(agrees.mean())
    assert (row["lattice_points"], row["lattice_points_near"]) == (400, near.sum())
    assert row["lattice_agreement_near"] == pytest.approx(agrees[near].mean())
    shares = [np.bincount(each, minlength=3) / 400 for each in (read, classes[distance.argmin(1)])]
    assert row["lattice_agreement_by_chance"] == pytest.approx(shares[0] @ shares[1])
    assert row["classifier"] == "5 nearest of 30 training images"


# --- a study ------------------------------------------------------------------------------------------------------------


def test_every_figure_comes_as_png_pdf_and_csv(drawn):
    names = {path.stem for path in drawn.glob("latent-*.png")}
    stems = ("reconstructions", "codes", "lattice", "traversals", "classes")
    assert names == {f"latent-{stem}-bernoulli" for stem in stems}
    for name in names:
        assert (drawn / f"{name}.pdf").read_bytes()[:5] == b"%PDF-"
        assert len(pd.read_csv(drawn / f"{name}.csv"))
    others = {path.stem for path in drawn.glob("latent-*.csv")} - names
    assert others == {"latent-trials-bernoulli", "latent-images-bernoulli", "latent-captions"}


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


# --- what is wrong ------------------------------------------------------------------------------------------------------


def edited(raw, change=lambda tensors: None, facts=lambda facts: None):
    """As a worker would have stored it: with a checksum that fits."""
    tensors, trial = decode_weights(raw, "weights")
    change(tensors)
    facts(trial)
    return encode_weights(tensors, trial)


def flipped(raw, place):
    return raw[:place] + bytes([raw[place] ^ 0x10]) + raw[place + 1 :]


def put(name, value):
    def change(tensors):
        tensors[name] = tensors[name].copy()
        tensors[name][(0,) * tensors[name].ndim] = value

    return change


DAMAGES = {
    "cut": (lambda raw: raw[:-10], "damaged"),
    "empty": (lambda raw: b"", "damaged"),
    "pickle": (lambda raw: b"\x80\x04K\x01.", "damaged"),
    "no header": (lambda raw: save(load_tensors(raw)), "damaged"),
    "no checksum": (lambda raw: save(load_tensors(raw), {"trial": json.dumps({"epoch": 2})}), "damaged"),
    "a flipped number": (lambda raw: flipped(raw, len(raw) - 30), "its content is not what was written"),
    "a flipped fact": (lambda raw: flipped(raw, raw.index(b"learning_rate") + 20), "damaged"),
    "not finite": (lambda raw: edited(raw, put("decoder.logits.weight", np.nan)), "cannot be"),
    "variance": (lambda raw: edited(raw, put("running_variance/decoder.hidden0", -1.0)), "cannot be"),
    "lost": (lambda raw: edited(raw, lambda t: t.pop("decoder.logits.bias")), "decoder.logits.bias is None"),
    "statistics lost": (lambda raw: edited(raw, lambda t: t.pop("running_mean/encoder.hidden0")), "running_mean"),
    "first lost": (lambda raw: edited(raw, lambda t: t.pop("encoder.hidden0.weight")), "encoder.hidden0.weight"),
    "shape": (
        lambda raw: edited(raw, lambda t: t.update({"encoder.mean.bias": np.zeros((1, 3), np.float32)})),
        "encoder.mean.bias",
    ),
    "another number": (lambda raw: edited(raw, put("encoder.mean.weight", 900.0)), "does not give the activity stored"),
    "other trial": (lambda raw: edited(raw, facts=lambda f: f.update(trial_id=ID)), f"holds the weights of trial {ID}"),
    "other epoch": (lambda raw: edited(raw, facts=lambda f: f.update(epoch=9)), "after epoch 9; move it away"),
    "other settings": (lambda raw: edited(raw, facts=lambda f: f["settings"].update(k=50)), "does not say what its trial"),
    "no settings": (lambda raw: edited(raw, facts=lambda f: f.update(settings={"k": "many"})), "damaged"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_weights_end_in_a_sentence_that_names_the_file(root, tmp_path, capsys, damage, words, monkeypatch):
    monkeypatch.setattr("pickle.loads", lambda *args: pytest.fail("unpickled"))
    copied = copy_of(root, tmp_path)
    file = sorted((copied / "weights").iterdir())[0]
    file.write_bytes(damage(file.read_bytes()))
    assert main([str(copied)]) == 3
    error = capsys.readouterr().err
    assert error.startswith(f"{file}: ")
    assert words in error
    assert error.count("\n") == 1
    assert not (copied / "figures").exists()


def test_weights_under_a_wrong_name_are_named(root, tmp_path, capsys):
    copied = copy_of(root, tmp_path)
    one, other = sorted((copied / "weights").iterdir())[:2]
    one.write_bytes(other.read_bytes())
    assert main([str(copied)]) == 3
    assert capsys.readouterr().err.startswith(f"{one}: holds the weights of trial {other.name.partition('-')[0]}")
    one.unlink()
    one.mkdir()
    assert main([str(copied)]) == 3
    assert capsys.readouterr().err.startswith(f"{one}: cannot be read (Is a directory)")


def test_missing_weights_end_with_3(root, tmp_path, capsys):
    copied = copy_of(root, tmp_path)
    file = sorted((copied / "weights").iterdir())[0]
    file.unlink()
    assert main([str(copied)]) == 3
    assert capsys.readouterr().err.startswith(f"{file}: there is no such file")


def test_bad_input_ends_with_2(root, tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    assert main([str(root), "--seed", "9"]) == 2
    write(tmp_path / "half", {**SMALL, "n_z": [2, 3]}, done=lambda s: 2)
    assert main([str(tmp_path / "half")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "no such folder" in lines[0]
    assert "seed 9 has not completed" in lines[1]
    assert lines[1].endswith("n_z = 2 and 6; name one of 0, 1")
    assert "no seed has completed" in lines[2]


def test_analysis_needs_no_torch_but_here():
    modules = ["analysis", *(f"analysis.latent.{name}" for name in ("drawing", "pictures", "trials", "numbers"))]
    finder = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("no torch here")
sys.meta_path.insert(0, NoTorch())
"""
    program = f"{finder}import {', '.join(modules)}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    control = subprocess.run([sys.executable, "-c", f"{program}, analysis.latent.models"], capture_output=True, text=True)
    assert "no torch here" in control.stderr


# --- artists ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def axes():
    return Figure().add_subplot()


def test_reconstructions_draw_every_image_and_mark_the_better_one(axes):
    draw = np.random.default_rng(0)
    images = [draw.random((2, 3, 4)) for _ in range(3)]
    rows = [
        Row("test image", images[0]),
        Row("n_z = 2", images[1], np.array([5.0, 7.04])),
        Row("n_z = 50", images[2], np.array([4.0, 7.02]), "all: 5.5"),
    ]
    latent_figures.reconstructions(rows, ["0", "1"], axes)
    for artist, image in zip(axes.images, np.concatenate(images), strict=True):
        np.testing.assert_array_equal(artist.get_array(), image)
        assert artist.get_clim() == (0, 1)
    weights = {(text.get_text(), round(text.get_position()[0], 1)): text.get_fontweight() for text in axes.texts}
    assert weights["5.0", 0.5] == "normal"
    assert weights["4.0", 0.5] == "bold"
    assert weights["7.0", 1.5] == "bold"
    assert "all: 5.5" in [text.get_text() for text in axes.texts]


def test_codes_are_drawn_as_the_number_of_their_class(axes):
    table = pd.DataFrame({"across": [0.0, 1.0, 2.0, -1.0], "up": [1.0, 3.0, -1.0, 0.5]})
    table["class"] = pd.array([7, 7, 2, None], dtype="Int64")
    latent_figures.codes(table, axes, limit=4.0)
    two, seven, rest = axes.collections
    assert two.get_offsets().tolist() == [[2.0, -1.0]]
    assert seven.get_offsets().tolist() == [[0.0, 1.0], [1.0, 3.0]]
    assert rest.get_offsets().tolist() == [[-1.0, 0.5]]
    assert len(two.get_paths()[0].vertices) != len(seven.get_paths()[0].vertices)
    assert to_hex(seven.get_facecolor()[0]) == latent_figures.CLASSES[7].lower()
    assert {text.get_text(): text.get_position() for text in axes.texts} == {"2": (2.0, -1.0), "7": (0.5, 2.0)}
    assert axes.get_xlim() == axes.get_ylim() == (-4.0, 4.0)


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_classes_have_ten_colours_that_are_seen_on_white():
    assert len(set(latent_figures.CLASSES)) == 10
    assert max(luminance(colour) for colour in latent_figures.CLASSES) < 0.5


def test_the_lattice_lies_where_its_points_are(axes):
    images = np.random.default_rng(0).random((20, 20, 3, 2))
    latent_figures.lattice(images, axes, REACH)
    (picture,) = axes.images
    mosaic = np.asarray(picture.get_array())
    assert mosaic.shape == (80, 60)
    np.testing.assert_array_equal(mosaic[4 * 7 : 4 * 7 + 3, 3 * 11 : 3 * 11 + 2], images[7, 11])
    left, right, bottom, top = picture.get_extent()
    assert left + (right - left) * 11.5 / 20 == pytest.approx(np.linspace(-3, 3, 20)[11])
    assert top - (top - bottom) * 7.5 / 20 == pytest.approx(np.linspace(3, -3, 20)[7])


def test_class_maps_colour_what_agrees(axes):
    classes, agrees = np.array([[1, 2], [3, 4]]), np.array([[True, False], [True, True]])
    latent_figures.class_map(classes, agrees, axes, REACH)
    tints = np.asarray(axes.images[0].get_array())
    assert (tints == 1).all(-1).tolist() == (~agrees).tolist()
    assert [text.get_text() for text in axes.texts] == ["1", "2", "3", "4"]
    assert [text.get_position()[0] < 0 for text in axes.texts] == [True, False, True, False]
    assert [text.get_position()[1] > 0 for text in axes.texts] == [True, True, False, False]


def test_traversals_go_down_one_block_and_then_the_next(axes):
    images = np.random.default_rng(0).random((5, 7, 3, 2))
    latent_figures.traversals(images, ["a", "b", "c", "d", "e"], axes, 2, STEPS)
    first, second = axes.images
    assert np.asarray(first.get_array()).shape == (3 * 4, 7 * 3)
    assert np.asarray(second.get_array()).shape == (2 * 4, 7 * 3)
    np.testing.assert_array_equal(np.asarray(second.get_array())[4:7, 6:8], images[4, 2])
    places = {text.get_text(): text.get_position() for text in axes.texts}
    assert places["a"][1] == places["d"][1] < places["b"][1]
    assert places["a"][0] < places["d"][0]


def test_points_of_classes_stand_at_their_means(axes):
    table = pd.DataFrame({"class": [0, 0, 1, 1], "seed": [0, 1, 0, 1], "knn_purity": [0.2, 0.4, 0.9, 0.7]})
    table["excess_cross_entropy"] = [3.0, 5.0, 1.0, 0.0]
    latent_figures.class_points(table, "knn_purity", axes)
    assert {text.get_text(): tuple(np.round(text.xy, 9)) for text in axes.texts} == {"0": (0.3, 4.0), "1": (0.8, 0.5)}
    assert [item.get_offsets().tolist() for item in axes.collections[-2:]] == [
        [[0.2, 3.0], [0.4, 5.0]],
        [[0.9, 1.0], [0.7, 0.0]],
    ]


def test_numbers_at_one_place_stand_side_by_side(axes):
    table = pd.DataFrame({"class": [3, 4, 5], "knn_purity": [0.5, 0.5, 0.9], "excess_cross_entropy": [1.0, 1.0, 2.0]})
    latent_figures.class_points(table.assign(seed=0), "knn_purity", axes)
    moves = [text.get_position() for text in axes.texts]
    assert moves[0] == moves[2] == (0, 0)
    assert moves[1][0] > 0
