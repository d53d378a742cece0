"""Find settings that make no sense together, and settings that have no effect in a trial."""

from workers.contract.settings import Settings
from workers.contract.settings_table import default_of, value_of

CONTINUOUS = ("frey_faces",)
"""Data sets whose pixels are grey levels and not probabilities."""


def closed_form_kl(settings: Settings) -> bool:
    """Return whether the variational term is computed in closed form (in a deep model: that of its top layer)."""
    return is_closed_form(settings.objective.kl, settings.k, settings.objective.gradient)


def is_closed_form(kl: str, k: int, gradient: str) -> bool:
    """Return what `closed_form_kl` does, from objective.kl, k and objective.gradient."""
    return kl == "analytic" or (kl == "auto" and k == 1 and gradient == "standard")


def refusals(settings: Settings) -> list[tuple[str, str]]:
    """Return the reasons why a trial cannot be run: for each the setting to change, and the reason with the remedy."""
    objective, found = settings.objective, []
    weighted = objective.bound == "iwae" and settings.k > 1

    def refuse(name: str, reason: str) -> None:
        found.append((name, f"got {value_of(settings, name)}: {reason}"))

    if objective.kl == "analytic" and weighted:
        refuse("objective.kl", "each importance weight of k > 1 needs log q(z|x) at its sample; use sampled, or bound: vae")
    if objective.kl == "analytic" and objective.gradient != "standard":
        refuse("objective.kl", "stl and dreg differentiate the sampled form; use sampled or auto")
    if objective.kl == "analytic" and settings.model.layers_above != "none":
        refuse("objective.kl", "only the top layer of several has a closed form; use auto, which uses it there at k = 1")
    if objective.gradient == "dreg" and objective.bound == "vae":
        refuse("objective.gradient", "a mean of log weights has no weights to reparameterise; use stl")
    if objective.gradient == "dreg" and objective.beta_place == "outside":
        refuse("objective.gradient", "its weights are derived only for beta inside the importance weights; use inside")
    if objective.free_bits > 0:
        if weighted:
            refuse("objective.free_bits", "an importance-weighted bound has no KL per unit; use bound: vae or k: 1")
        elif not closed_form_kl(settings):
            refuse("objective.free_bits", "it needs the KL per unit in closed form; use kl: analytic and gradient: standard")
        if settings.model.layers_above != "none":
            refuse("objective.free_bits", "the KL per unit of several layers has no closed form; use one layer")
    if objective.iwae_tile_bug:
        if objective.bound == "vae":
            refuse("objective.iwae_tile_bug", "a mean of log weights is the same however they are grouped; use iwae")
        if objective.gradient != "standard" or objective.beta_place == "outside":
            refuse("objective.iwae_tile_bug", "it imitates a known program; use gradient: standard and beta_place: inside")
    if settings.decoder == "continuous_bernoulli":
        if settings.data.name == "binarized_mnist":
            refuse("decoder", "its density has no upper bound on the 0s and 1s of binarized_mnist; use other data")
        elif settings.data.input != "grey":
            refuse("decoder", "its density has no upper bound on pixels of 0 and 1; use data.input: grey")
    if settings.data.name in CONTINUOUS and settings.data.input in ("dynamic", "static"):
        refuse("data.input", f"the pixels of {settings.data.name} are not probabilities; use grey or threshold")
    return found


def without_effect(settings: Settings) -> list[str]:
    """Return the settings of a trial that differ from their default but have no effect in it."""
    model, objective = settings.model, settings.objective
    has_heads = settings.decoder == "gaussian"
    idle = {
        "data.input": settings.data.name == "binarized_mnist",
        "data.scale": settings.data.name != "npz",
        "data.image_size": settings.data.name != "npz",
        "data.subset": settings.data.classes == "all",
        "model.decoder_logvar": not has_heads,
        "model.decoder_logvar_value": not has_heads or model.decoder_logvar not in ("global", "fixed"),
        "model.decoder_logvar_limit": not has_heads or model.decoder_logvar != "linear_clamped",
        "model.bn_scope": not settings.batch_norm,
        "model.bn_statistics": not settings.batch_norm,
        "model.bn_momentum": not settings.batch_norm or model.bn_statistics != "running",
        "objective.bound": settings.k == 1,
        "objective.kl": closed_form_kl(settings)
        == closed_form_kl(settings.model_copy(update={"objective": objective.model_copy(update={"kl": "auto"})})),
        "objective.beta_place": settings.k == 1
        or objective.bound == "vae"
        or (settings.warmup == 0 and objective.beta == 1),
        "objective.warmup_by": settings.warmup == 0,
        "objective.warmup_cycles": settings.warmup == 0,
        "objective.warmup_share": settings.warmup == 0 or objective.warmup_cycles == 1,
        "objective.iwae_tile_bug": settings.k == 1,
        "training.schedule_over": settings.training.schedule == "constant",
    }
    return [name for name, is_idle in idle.items() if is_idle and value_of(settings, name) != default_of(name)]
