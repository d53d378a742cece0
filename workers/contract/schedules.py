"""Schedules over epochs: the weight beta of the variational term, and the learning rate."""

from itertools import accumulate

from workers.contract.settings import ObjectiveSettings, TrainingSettings

BURDA_STAGES = tuple(3**i for i in range(8))
"""Passes per stage: 1 + 3 + ... + 2187 = 3280; Burda et al. 2016, sec. 5 (arXiv:1509.00519)."""

BURDA_SHARES = tuple(round(10 ** (1 - i / 7), 1) / 10 for i in range(8))
"""The learning rate of every stage divided by the first, rounded as in their code: 1e-4 * round(10^(1 - i/7), 1)."""


def beta_at(progress: float, warmup: int, objective: ObjectiveSettings) -> float:
    """Return the weight of the variational term after `progress` epochs of training (the first epoch begins at 0).

        beta * min(1, progress / warmup)          Sonderby et al. 2016, sec. 2.2; the paper's eq. 4
        cyclical: progress counts from the start of its cycle of warmup / warmup_share epochs; beta after the last one
                                                  Fu et al. 2019 (arXiv:1903.10145)

    Without warm-up the weight is `beta`. With `warmup_by: epoch`, epoch e has progress e - 1: the first epoch trains with
    weight 0, and epoch warmup + 1 is the first with the full weight.
    """
    if warmup == 0:
        return objective.beta
    cycle = warmup / objective.warmup_share
    if objective.warmup_cycles > 1 and progress < objective.warmup_cycles * cycle:
        progress %= cycle
    return objective.beta * min(1.0, progress / warmup)


def learning_rate_at(epoch: int, training: TrainingSettings) -> float:
    """Return Adam's step size in an epoch (from 1); the stages of a schedule are spread over `schedule_over` epochs."""
    if training.schedule == "constant":
        return training.learning_rate
    whole = sum(BURDA_STAGES)
    ends = (end * training.schedule_over / whole for end in accumulate(BURDA_STAGES))
    # Compare half an epoch early, so that rounding errors cannot move an edge that falls on a whole epoch.
    stage = next((i for i, end in enumerate(ends) if epoch - 0.5 <= end), len(BURDA_STAGES) - 1)
    return training.learning_rate * BURDA_SHARES[stage]
