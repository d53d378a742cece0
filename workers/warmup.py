"""The weight beta of the variational term over epochs."""


def beta_at(epoch: int, warmup: int) -> float:
    """Linear warm-up: beta = min(1, (epoch - 1) / warmup); Sonderby et al. 2016, sec. 2.2; the paper's eq. 4.

    The first epoch (1) trains with beta 0 and epoch warmup + 1 is the first with 1. Epoch 0, before training, has the
    beta of epoch 1. Without warm-up beta is 1.
    """
    if warmup == 0:
        return 1.0
    return min(1.0, max(0, epoch - 1) / warmup)
