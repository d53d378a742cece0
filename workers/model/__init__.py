"""The model of a pack: densities, layers, networks and the objective, all with a leading replica axis."""
