"""Columns that hold one number per unit."""

BY_UNIT = {
    "activity",
    "activity_test",
    "activity_pca",
    "kl_per_unit",
    "kl_per_unit_test",
    "posterior_mean",
    "posterior_variance",
    "activity_bin",
    "activity_grey",
}
