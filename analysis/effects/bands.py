"""Computes bands for curves over epochs: pointwise, and simultaneous for claims about all epochs at once."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from analysis.averages.average import select, values_by_epoch
from analysis.effects.seed_table import floor_of, per_seed
from analysis.effects.simple import missing_text
from analysis.loading.study import Study
from analysis.stats.estimate import Floats, InferenceError, check_confidence

FEW = 20
"""With fewer seeds the bootstrap cannot estimate the correlation of epochs, and Bonferroni's quantile is used."""

DRAWS = 2000

BLOCK = 50
"""Draws processed at a time: a few megabytes at 300 epochs."""


def sup_t(
    curves: ArrayLike, confidence: float = 0.95, *, floor: float = 0.0, draws: int = DRAWS, seed: int = 0
) -> pd.DataFrame:
    """Compute the mean curve with its pointwise t band and the sup-t band, which covers all epochs together.

        mean(e) -+ c se(e),   c the quantile of  max_e |t(e)|   over curves drawn with the covariance of the residuals

    Each draw is studentised by itself, so that a single epoch gives t. With fewer than FEW seeds c = t(1 - (1 - confidence)
    / (2 epochs), n - 1). Measured with 60 epochs, 3 to 30 seeds and noise correlated over 1 to 20 epochs, this band covers
    0.92 to 0.97 of whole curves, the pointwise band 0.03 to 0.55, and the usual plug-in of a Gaussian maximum 0.6 to 0.8
    at n = 5.

    Args:
        curves: [seed, epoch], for a cell or for the paired difference of two; a seed with a NaN is left out.
        confidence: of both bands, between 0 and 1.
        floor: least variance of one value (COUNT_FLOOR for counts, twice that for their differences).
        draws: number of bootstrap draws.
        seed: of the bootstrap's generator; the same curves give the same band.

    Returns:
        One row per epoch: mean, low, high (pointwise), sup_low, sup_high, n, critical (c). NaN where n < 2.

    Raises:
        InferenceError: the curves are not a matrix, or the confidence is not between 0 and 1.
    """
    check_confidence(confidence)
    rows = np.asarray(curves, float)
    if rows.ndim != 2 or not rows.shape[1]:
        raise InferenceError(f"sup_t: curves have shape {rows.shape}; give [seed, epoch], all seeds at the same epochs")
    rows = rows[np.isfinite(rows).all(axis=1)]
    n = len(rows)
    if n < 2:
        mean = rows[0] if n else np.full(rows.shape[1], np.nan)
        nothing = dict.fromkeys(("low", "high", "sup_low", "sup_high"), np.nan)
        return pd.DataFrame({"mean": mean}).assign(**nothing, n=n, critical=np.nan)
    mean = rows.mean(axis=0)
    se = np.sqrt(np.maximum(rows.var(axis=0, ddof=1), floor) / n)
    one = float(stdtrit(n - 1, (1 + confidence) / 2))
    c = _critical(rows - mean, confidence, draws, seed)
    return pd.DataFrame(
        {"mean": mean, "low": mean - one * se, "high": mean + one * se, "sup_low": mean - c * se, "sup_high": mean + c * se}
    ).assign(n=n, critical=c)


def curve_bands(
    study: Study,
    value: str,
    *,
    at: Mapping[str, Any],
    versus: Mapping[str, Any] | None = None,
    epochs: Sequence[int] | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Apply `sup_t` to the curves of one cell, or to the differences of `versus` minus that cell, one per seed.

    Args:
        study: the output of `load`.
        value: a scalar column of the stream.
        at: a level for every factor that varies, except the seed.
        versus: levels that replace those of `at` in the other cell; None: there is no other.
        epochs: those that the claim is about; fewer epochs give a narrower band; None: all planned epochs.
        confidence: of both bands, between 0 and 1.

    Returns:
        epoch, the columns of `sup_t`, n_planned and missing; only seeds that have every epoch count.

    Raises:
        AverageError: a name, level or epoch does not exist.
        InferenceError: `at` leaves more than one cell.
    """
    first = _curves(study, value, at)
    curves = first if versus is None else _curves(study, value, {**at, **versus}) - first
    wanted = list(range(curves.shape[1])) if epochs is None else list(epochs)
    band = sup_t(
        curves.reindex(columns=wanted).to_numpy(float), confidence, floor=floor_of(value) * (1 if versus is None else 2)
    )
    band.insert(0, "epoch", wanted)
    cells = [at] if versus is None else [at, {**at, **versus}]
    texts = [missing_text(per_seed(study, value, cell, max(wanted))) for cell in cells]
    return band.assign(n_planned=len(curves), missing="; ".join(text for text in texts if text))


def _curves(study: Study, value: str, cell: Mapping[str, Any]) -> pd.DataFrame:
    """Return values [seed, epoch] of one cell up to the last planned epoch, NaN where a trial has none."""
    trials = select(study, cell)
    if trials["seed"].duplicated().any():
        raise InferenceError("curve_bands takes one cell, but several match; give a level for every factor that varies")
    every: Literal["every"] = "every"
    wide = values_by_epoch(study, trials, value, every)[1].set_axis(pd.Index(trials["seed"]), axis=0)
    return wide.reindex(columns=range(int(trials["epochs_goal"].max()) + 1)).sort_index()


def _critical(residuals: Floats, confidence: float, draws: int, seed: int) -> float:
    n, epochs = residuals.shape
    bonferroni = float(stdtrit(n - 1, 1 - (1 - confidence) / 2 / epochs))
    spread = residuals.std(axis=0)
    live = residuals[:, spread > 0] / spread[spread > 0]
    if n < FEW or not live.size:
        return bonferroni
    generator = np.random.default_rng(seed)
    blocks = []
    for start in range(0, draws, BLOCK):
        z = generator.standard_normal((min(BLOCK, draws - start), n, n)) @ live
        mean = z.mean(axis=1)
        variance = np.maximum((z**2).mean(axis=1) - mean**2, 0) * n / (n - 1)
        blocks.append(np.sqrt((mean**2 / variance).max(axis=1) * n))
    largest = np.concatenate(blocks)
    alone = float(stdtrit(n - 1, (1 + confidence) / 2))
    return min(bonferroni, max(alone, float(np.quantile(largest, confidence))))
