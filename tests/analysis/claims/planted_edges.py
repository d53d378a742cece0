"""For every claim of the paper a study whose effect is real but smaller than what counts, and one that cannot judge it."""

from dataclasses import dataclass, field, replace

from tests.analysis.claims.planted_claims import (
    BN,
    FIVE,
    GAUSS,
    K1,
    K5,
    METHODS,
    PLANTS,
    RANDOM,
    SAMPLED,
    TWO,
    TWO_RANDOM,
    WU,
    Plant,
    _gradual,
    _last,
    absent_classes,
    better_images,
    falling,
    in_band,
    jitter,
    n_z,
    noise,
    rising,
    units,
)


@dataclass
class Edge:
    plant: Plant
    verdict: str
    words: str
    """In `how` of a refuted claim, else in its reason."""
    options: dict = field(default_factory=dict)


SMALLER, LIMIT = "shown to be smaller than the margin of ", "the limit of "


def third(s):
    """Every third seed."""
    return int(s["seed"] % 3 == 0)


def one_return(s, e):
    """Forty units fall to twelve, and one of the pruned comes back for good."""
    values = units(falling(s, e, 12), s["n_z"])
    values[-1] = 0.6 if e < 3 or e > 60 else 0.001
    return values


def within_epoch_1(s, e):
    """All units that will be pruned are pruned before the first measurement in training."""
    return 12 + jitter(s) if e else s["n_z"]


NEGLIGIBLE: dict[str, Edge] = {
    "C1": Edge(Plant([K1, GAUSS], nll=lambda s: 90 + 0.5 * (s["decoder"] == "gaussian")), "refuted", SMALLER + "1 nats"),
    # For a claim of equality a difference below the margin is no objection.
    "C2": Edge(Plant([GAUSS], epochs=300, seeds=5, bound=lambda s, e: -330 + 0.001 * e), "confirmed", ""),
    "C3": Edge(
        Plant([K5, SAMPLED], final=lambda s: {"l_5": -87 + 0.1 * (s["k"] == 5) + noise(s)}), "refuted", SMALLER + "0.3 nats"
    ),
    "C4": Edge(Plant([K5, K1], final=lambda s: {"l_1": -95.0, "l_5": -93.0, "l_64": -93.02}), "confirmed", ""),
    "C5": Edge(Plant([K5, BN], nll=lambda s: 90 + 0.1 * s["batch_norm"]), "refuted", SMALLER + "0.3 nats"),
    "C6": Edge(Plant([K5, WU], epochs=60, bound=lambda s, e: rising(e, 4, 3 * (s["warmup"] > 0))), "confirmed", ""),
    "C7": Edge(Plant([K5, WU], nll=lambda s: 90 + 0.1 * (s["warmup"] > 0)), "confirmed", ""),
    "C8": Edge(Plant(n_z(2, 5, 10), nll=lambda s: 90 + {2: 30, 5: 0.1, 10: 0}[s["n_z"]]), "refuted", SMALLER + "0.3 nats"),
    "C9": Edge(Plant(n_z(10, 20, 50, 100), nll=lambda s: 90 + 0.1 * (s["n_z"] == 10)), "confirmed", ""),
    "C10": Edge(
        Plant(n_z(10, 20, 50, 100), epochs=40, bound=lambda s, e: rising(e, 3.9 if s["n_z"] == 10 else 4)),
        "refuted",
        SMALLER + "1 epochs",
    ),
    "C11": Edge(
        Plant(
            [K5],
            seeds=12,
            activity=lambda s, e: [*units(10, s["n_z"])[:-1], 0.05 if s["seed"] % 2 else 0.001],
            final=lambda s: {"ablation_between_elbo": -0.005 + noise(s, 0.005)},
        ),
        "refuted",
        LIMIT + "1 units",
    ),
    "C12": Edge(Plant([K1], seeds=12, epochs=30, active=lambda s, e: 50 - third(s) * (e > 8)), "refuted", LIMIT + "1 units"),
    "C13": Edge(Plant([K5, K1], epochs=80, activity=one_return), "confirmed", ""),
    "C14": Edge(
        Plant([K5, SAMPLED], epochs=40, active=lambda s, e: falling(s, e, 12, tau=3 if s["k"] == 5 else 2)),
        "refuted",
        SMALLER + "2 epochs",
    ),
    "C15": Edge(
        Plant([K5, SAMPLED], seeds=12, active=lambda s, e: 16 - third(s) * (s["k"] == 5)), "refuted", SMALLER + "1 units"
    ),
    "C16": Edge(
        Plant(
            [K5, BN],
            epochs=40,
            active=lambda s, e: falling(s, e, 18 if s["batch_norm"] else 12, tau=3 if s["batch_norm"] else 2),
        ),
        "refuted",
        SMALLER + "2 epochs",
    ),
    "C17": Edge(
        Plant(
            [K5, WU], epochs=40, active=lambda s, e: _last(s, e, lambda s, e: 12, lambda s, e: _gradual(s, e) - 10 * (e > 1))
        ),
        "refuted",
        LIMIT + "0.9 share of the early peak",
    ),
    "C18": Edge(
        Plant(
            [K5, WU],
            epochs=40,
            seeds=12,
            active=lambda s, e: _last(s, e, lambda s, e: 12, lambda s, e: _gradual(s, e) - third(s) * (e > 30)),
        ),
        "confirmed",
        "",
    ),
    "C19": Edge(Plant(METHODS, active=lambda s, e: 10 + s["batch_norm"] + jitter(s)), "confirmed", ""),
    "C20": Edge(
        Plant(n_z(2, 5), active=lambda s, e: s["n_z"] - third(s) * (s["n_z"] == 5 and e > 3)), "undecided", "seeds per cell"
    ),
    "C21": Edge(Plant(n_z(20, 50, 100), active=lambda s, e: 10 + (s["n_z"] == 100) + jitter(s)), "confirmed", ""),
    "C22": Edge(
        Plant([K5, K1], activity=in_band, final=lambda s: {"ablation_between_elbo": -0.03 + noise(s, 0.005)}),
        "refuted",
        LIMIT + "-0.06 nats",
    ),
    "C23": Edge(
        Plant(
            n_z(2, 50),
            classes=lambda s: [-80.0 - 0.1 * (s["n_z"] == 2) + noise(s, 0.02) for _ in range(10)],
            latent=lambda s: better_images(1.0),
        ),
        "refuted",
        SMALLER + "0.3 nats",
    ),
    "C24": Edge(Plant(n_z(2, 50), latent=lambda s: {"spearman_purity": -0.02 + noise(s, 0.3)}), "undecided", "its contrary"),
    "C25": Edge(
        Plant(n_z(2, 50), latent=lambda s: {"lattice_agreement": 0.75 + noise(s, 0.01), "classifier_accuracy": 0.97}),
        "refuted",
        LIMIT + "0.8",
    ),
    "C26": Edge(
        Plant(
            [K5, K1],
            seeds=120,
            epochs=1,
            active=lambda s, e: 15 + s["seed"] % 10,
            nll=lambda s: 90 + 0.01 * (s["seed"] % 10) + noise(s, 0.5),
        ),
        "confirmed",
        "",
    ),
    "C27": Edge(
        Plant(
            [FIVE, RANDOM, TWO, TWO_RANDOM],
            active=lambda s, e: 10 - (absent_classes(s) > 0) + jitter(s),
        ),
        "refuted",
        SMALLER,
    ),
    "C28": Edge(
        Plant(
            [GAUSS, *METHODS, SAMPLED, *n_z(20, 100)],
            nll=lambda s: 95.0 + 150 * (s["decoder"] == "gaussian") - 5 * (s["k"] == 5) + 4.97 * s["batch_norm"],
        ),
        "undecided",
        "its contrary",
    ),
    "C29": Edge(
        Plant(
            [*METHODS, SAMPLED],
            epochs=10,
            seeds=18,
            active=lambda s, e: 10 + 4 * (s["k"] == 5) + 4 * s["batch_norm"] + third(s) * (s["warmup"] > 0),
        ),
        "refuted",
        SMALLER + "1 units",
    ),
    "C30": Edge(
        Plant(
            [K5, SAMPLED],
            activity=in_band,
            final=lambda s: {"ablation_between": -0.01 - 0.02 * (s["k"] == 5) + noise(s, 0.005)},
        ),
        "refuted",
        SMALLER + "0.06 nats",
    ),
}
"""By claim: a real effect that is smaller than what counts."""

UNFINISHED = {"done": lambda s: 3}
TOO_FEW = ("undecided", "too few seeds have a value")
NO_BRIDGE = ("not testable", "objective.kl: sampled}")
BEFORE = ("not testable", "pruned within epoch 1")

EMPTY: dict[str, Edge] = {
    **{
        name: Edge(PLANTS[name][0], *TOO_FEW, UNFINISHED)
        for name in ("C1", "C2", "C4", "C5", "C7", "C8", "C9", "C11", "C18", "C19", "C21")
    },
    "C3": Edge(Plant([K5, K1], final=lambda s: {"l_5": -87 + 2 * (s["k"] == 5) + noise(s)}), *NO_BRIDGE),
    "C6": Edge(Plant([K5, WU], epochs=60, bound=lambda s, e: -150 + e), "not testable", "test_bound had not converged"),
    "C10": Edge(
        Plant(n_z(10, 20, 50, 100), epochs=40, bound=lambda s, e: rising(e, 10 if s["n_z"] == 10 else 30)),
        "not testable",
        "test_bound had not converged",
    ),
    "C12": Edge(Plant([K1], epochs=60, active=within_epoch_1), *BEFORE),
    "C13": Edge(Plant([K5, K1], epochs=30, active=lambda s, e: 50), "not testable", "no unit was pruned"),
    "C14": Edge(Plant([K5, SAMPLED], epochs=40, active=within_epoch_1), *BEFORE),
    "C15": Edge(Plant([K5, K1], active=lambda s, e: 10 if s["k"] == 5 else 16), *NO_BRIDGE),
    "C16": Edge(
        Plant([K5, BN], epochs=40, active=lambda s, e: within_epoch_1(s, e) + 6 * s["batch_norm"] * (e > 0)), *BEFORE
    ),
    "C17": Edge(Plant([K5, WU], epochs=40, active=within_epoch_1), *BEFORE),
    "C20": Edge(Plant(n_z(2, 5), active=lambda s, e: s["n_z"] - 1), *BEFORE),
    "C22": Edge(Plant([K5, K1]), "not testable", "no unit's activity lies above 0.01 and at most at 0.1"),
    **{
        name: Edge(replace(PLANTS[name][0], latent=None), "not testable", "run python -m analysis.latent")
        for name in ("C23", "C24", "C25")
    },
    "C26": Edge(Plant([K5, K1]), *TOO_FEW),
    "C27": Edge(
        replace(PLANTS["C27"][0], cells=[FIVE, RANDOM]), "not testable", "data.classes = 1,2 (the study has 1,2,3,4,5)"
    ),
    "C28": Edge(Plant([GAUSS, *METHODS, *n_z(20, 100)]), *NO_BRIDGE),
    "C29": Edge(replace(PLANTS["C29"][0], cells=METHODS), *NO_BRIDGE),
    "C30": Edge(Plant([K5, SAMPLED]), "not testable", "no unit's activity lies above 0.01 and at most at 0.1"),
}
"""By claim: nothing was pruned, nothing converged, no such unit, no finished trial, no cell to compare with."""
