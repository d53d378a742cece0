"""Pictures and numbers of the latent space, from stored weights; the only package of analysis that needs torch."""
