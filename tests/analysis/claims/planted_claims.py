"""For every claim of the paper a study in which it is true and one in which it is false, written through the real contract."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd

from analysis.loading.load import load
from analysis.loading.study import Study
from tests.analysis import planted

BASE = {"decoder": "bernoulli", "k": 5, "batch_norm": False, "warmup": 0, "n_z": 50}
WARMUP = 20
K5, K1, BN, WU, GAUSS = {}, {"k": 1}, {"batch_norm": True}, {"warmup": WARMUP}, {"k": 1, "decoder": "gaussian"}
SAMPLED = {"k": 1, "objective.kl": "sampled"}
"""K = 1 with the estimator of the KL that K = 5 has."""
USUAL = {"data.classes": "all", "data.subset": "classes", "objective.kl": "auto"}
"""The levels of further factors in cells that do not name them."""


def n_z(*sizes):
    return [{"n_z": size} for size in sizes]


def noise(s, scale=0.05, stream=0):
    """A number a trial: the seed's own part, which pairs share, and the trial's."""
    key = [s["n_z"], s["k"], s["batch_norm"], s["warmup"], s["decoder"] == "gaussian", stream]
    own = np.random.default_rng([s["seed"], *map(int, key)])
    return scale * float(np.random.default_rng([s["seed"], stream]).normal() + own.normal())


def jitter(s):
    """Every fourth seed has a unit more."""
    return int(s["seed"] % 4 == s["k"] % 4)


def units(count, n, high=0.6, low=0.001):
    values = np.full(n, low)
    values[: int(np.clip(round(count), 0, n))] = high
    return values


@dataclass
class Plant:
    cells: list
    seeds: int = 6
    first_seed: int = 0
    epochs: int = 6
    settings: Mapping = field(default_factory=dict)
    nll: Callable = lambda s: 90.0
    final: Callable = lambda s: {}
    """Columns of TRIALS beside nll."""
    bound: Callable = lambda s, e: -90.0 - 20 * np.exp(-e / 3)
    active: Callable = lambda s, e: 10
    activity: Callable | None = None
    classes: Callable = lambda s: [-80.0] * 10
    latent: Callable | None = None
    """Columns of the table of latent pictures, a trial."""

    def write(self, root: Path, **options) -> Study:
        cells = [{**BASE, **cell} for cell in self.cells]
        named = set(chain.from_iterable(cells))
        usual = {name: level for name, level in USUAL.items() if name in named}
        cells = [{**usual, **cell} for cell in cells]
        names = list(dict.fromkeys(chain.from_iterable(cells)))
        factors = {name: list(dict.fromkeys(cell[name] for cell in cells)) for name in names}
        count = self.activity or (lambda s, e: units(self.active(s, e), s["n_z"]))
        row_of, end_of = planted.row_of, planted.end_of

        def row(trial, values, epoch, *rest):
            return {**row_of(trial, values, epoch, *rest), "reconstruction_per_class": self.classes(values)}

        def end(trial, values, *rest):
            found = end_of(trial, values, *rest)
            if found["status"] != "completed":
                return found
            nll = self.nll(values) + noise(values)
            return {**found, "nll": nll, "nll_comparable": nll, **self.final(values)}

        with mock.patch.object(planted, "row_of", row), mock.patch.object(planted, "end_of", end):
            planted.write(
                root,
                {**factors, "seed": list(range(self.first_seed, self.first_seed + self.seeds))},
                self.epochs,
                settings=self.settings,
                excluded=lambda s: {name: s[name] for name in names} not in cells,
                bound=lambda s, e: self.bound(s, e) + noise(s, 0.01, e),
                activity=count,
                **{"borders": 1, **options},
            )
        return load(root)

    def table(self, study: Study) -> pd.DataFrame | None:
        if self.latent is None:
            return None
        return pd.DataFrame([{"trial_id": s["trial_id"], **self.latent(s)} for s in study.trials.to_dict("records")])


def falling(s, e, to, start=40, tau=4.0, from_epoch=3):
    """Active units that fall from `start` to `to`, exponentially."""
    return to + jitter(s) + (start - to) * np.exp(-max(0, e - from_epoch) / tau)


def rising(e, tau, late=0):
    return -90.0 - 30 * np.exp(-max(0, e - late) / tau)


def _last(s, e, plain, warm):
    """Units without warm-up from the start, and a curve of its own with it."""
    return warm(s, e) if s["warmup"] else plain(s, e)


def _gradual(s, e, end=12):
    """Nothing is lost at first, then evenly to the end of the warm-up."""
    return end + (50 - end) * min(1.0, max(0.0, (WARMUP - e) / (WARMUP - 3)))


def _returns(s, e):
    """Ten units that live and die by turns, one every epoch."""
    values = units(10, s["n_z"])
    return np.where(np.arange(s["n_z"]) % 5 == e % 5, 0.6, values)


FIVE, RANDOM = {"data.classes": "1,2,3,4,5"}, {"data.classes": "1,2,3,4,5", "data.subset": "random"}
TWO, TWO_RANDOM = {"data.classes": "1,2"}, {"data.classes": "1,2", "data.subset": "random"}
METHODS = [K1, K5, BN, WU]


def in_band(s, e):
    """Ten active units, all others between 0.01 and the threshold."""
    return units(10, s["n_z"], low=0.05)


def better_images(share, images=10_000):
    """The row of the latent table about the images that 50 units reconstruct better than 2."""
    return {
        "share_reference_better": share,
        "images": images,
        "images_reference_not_better": round((1 - share) * images),
    }


def absent_classes(s):
    """How many of the ten classes a subset by class lacks."""
    return 0 if s["data.classes"] == "all" or s["data.subset"] == "random" else 10 - len(s["data.classes"].split(","))


PLANTS: dict[str, tuple[Plant, Plant]] = {
    "C1": tuple(
        Plant([K1, GAUSS], nll=lambda s, worse=worse: 90 + worse * (s["decoder"] == "gaussian")) for worse in (150, -10)
    ),
    "C2": tuple(Plant([GAUSS], epochs=300, seeds=5, bound=lambda s, e, rate=rate: -330 + rate * e) for rate in (0, 0.02)),
    "C3": tuple(
        Plant([K5, K1, SAMPLED], final=lambda s, gain=gain: {"l_5": -87 + gain * (s["k"] == 5) + noise(s), "l_1": -88.0})
        for gain in (2, -2)
    ),
    "C4": tuple(
        Plant([K5, K1], final=lambda s, l_64=l_64: {"l_1": -95.0, "l_5": -93.0, "l_64": l_64}) for l_64 in (-91.0, -94.0)
    ),
    "C5": tuple(Plant([K5, BN], nll=lambda s, worse=worse: 90 + worse * s["batch_norm"]) for worse in (1, -1)),
    "C6": tuple(
        Plant([K5, WU], epochs=60, bound=lambda s, e, late=late: rising(e, 4, late * (s["warmup"] > 0))) for late in (1, 30)
    ),
    "C7": tuple(Plant([K5, WU], nll=lambda s, worse=worse: 90 + worse * (s["warmup"] > 0)) for worse in (0, 1)),
    "C8": tuple(Plant(n_z(2, 5, 10), nll=lambda s, five=five: 90 + {2: 30, 5: five, 10: 0}[s["n_z"]]) for five in (15, -2)),
    "C9": tuple(Plant(n_z(10, 20, 50, 100), nll=lambda s, ten=ten: 90 + ten * (s["n_z"] == 10)) for ten in (0, 2)),
    "C10": tuple(
        Plant(n_z(10, 20, 50, 100), epochs=40, bound=lambda s, e, tau=tau: rising(e, tau if s["n_z"] == 10 else 4))
        for tau in (2, 8)
    ),
    "C11": tuple(
        Plant([K5], activity=in_band, final=lambda s, cost=cost: {"ablation_between_elbo": cost + noise(s, 0.005)})
        for cost in (-0.005, -0.5)
    ),
    "C12": tuple(Plant([K1], epochs=60, active=lambda s, e, tau=tau: falling(s, e, 12, tau=tau)) for tau in (3, 100)),
    "C13": (
        Plant([K5, K1], epochs=80, active=lambda s, e: falling(s, e, 12)),
        Plant([K5, K1], epochs=30, activity=_returns),
    ),
    "C14": tuple(
        Plant([K5, SAMPLED], epochs=40, active=lambda s, e, slow=slow: falling(s, e, 12, tau=9 if s["k"] == slow else 2))
        for slow in (5, 1)
    ),
    "C15": tuple(
        Plant([K5, SAMPLED], active=lambda s, e, few=few: (10 if s["k"] == few else 16) + jitter(s)) for few in (5, 1)
    ),
    "C16": tuple(
        Plant(
            [K5, BN],
            epochs=40,
            active=lambda s, e, end=end: falling(s, e, end if s["batch_norm"] else 12, tau=9 if s["batch_norm"] else 2),
        )
        for end in (18, 6)
    ),
    "C17": tuple(
        Plant([K5, WU], epochs=40, active=lambda s, e, warm=warm: _last(s, e, lambda s, e: falling(s, e, 12), warm))
        for warm in (_gradual, lambda s, e: falling(s, e, 12, tau=1, from_epoch=1))
    ),
    "C18": tuple(
        Plant([K5, WU], epochs=40, active=lambda s, e, warm=warm: _last(s, e, lambda s, e: 12 + jitter(s), warm))
        for warm in (lambda s, e: _gradual(s, e) + jitter(s), lambda s, e: max(12, 40 - 0.6 * e))
    ),
    "C19": tuple(
        Plant(METHODS, active=lambda s, e, many=many: (many if s == {**s, **K5, **BN} else 10) + jitter(s))
        for many in (10, 16)
    ),
    "C20": tuple(
        Plant(n_z(2, 5), active=lambda s, e, lost=lost: s["n_z"] - lost * (s["n_z"] == 5 and e > 3)) for lost in (0, 2)
    ),
    "C21": tuple(
        Plant(n_z(20, 50, 100), active=lambda s, e, many=many: (many if s["n_z"] == 100 else 10) + jitter(s))
        for many in (10, 16)
    ),
    "C22": tuple(
        Plant(
            [K5, K1],
            activity=in_band,
            final=lambda s, cost=cost: {"ablation_low_elbo": -0.001, "ablation_between_elbo": cost + noise(s, 0.01)},
        )
        for cost in (-0.5, -0.005)
    ),
    "C23": tuple(
        Plant(
            n_z(2, 50),
            classes=lambda s, odd=odd: [
                -80.0 - 20 * (s["n_z"] == 2 and c != odd) - 2 * (s["n_z"] == 50) + noise(s) for c in range(10)
            ],
            latent=lambda s, share=share: better_images(share),
        )
        for odd, share in ((None, 1.0), (3, 0.9))
    ),
    "C24": tuple(Plant(n_z(2, 50), latent=lambda s, rho=rho: {"spearman_purity": rho + noise(s)}) for rho in (-0.7, 0.5)),
    "C25": tuple(
        Plant(
            n_z(2, 50),
            latent=lambda s, share=share: {"lattice_agreement": share + noise(s, 0.01), "classifier_accuracy": 0.97},
        )
        for share in (0.93, 0.3)
    ),
    "C26": tuple(
        Plant(
            [K5, K1],
            seeds=120,
            epochs=1,
            active=lambda s, e: 15 + s["seed"] % 10,
            nll=lambda s, rate=rate: 90 + rate * (s["seed"] % 10) + noise(s, 0.5),
        )
        for rate in (0, -1)
    ),
    "C27": tuple(
        Plant(
            [FIVE, RANDOM, TWO, TWO_RANDOM, K5],
            active=lambda s, e, share=share: 10 - round(share * absent_classes(s)) + jitter(s),
        )
        for share in (1, -0.5)
    ),
    "C28": tuple(
        Plant(
            [GAUSS, *METHODS, SAMPLED, *n_z(20, 100)],
            nll=lambda s, bn=bn: (
                95.0 + 150 * (s["decoder"] == "gaussian") - 5 * (s["k"] == 5) + bn * s["batch_norm"] + 0.3 * (s["n_z"] == 20)
            ),
        )
        for bn in (0.5, 12)
    ),
    "C29": tuple(
        Plant(
            [*METHODS, SAMPLED],
            epochs=20,
            active=lambda s, e, late=late: (
                10 + 4 * (s["k"] == 5) + 4 * s["batch_norm"] * (1 if e > late else -1) + 4 * (s["warmup"] > 0) + jitter(s)
            ),
        )
        for late in (0, 8)
    ),
    "C30": tuple(
        # At K = 1 there are no such units, so that nothing is lost without them.
        Plant(
            [K5, SAMPLED],
            activity=lambda s, e: units(10, s["n_z"], low=0.05 if s["k"] == 5 else 0.001),
            final=lambda s, cost=cost: {"ablation_between": (cost + noise(s, 0.01)) * (s["k"] == 5)},
        )
        for cost in (-0.5, -0.005)
    ),
}
"""By claim: (true, false)."""
