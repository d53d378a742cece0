"""Pictures and numbers of the latent space, from stored weights. The only room of analysis that needs torch."""
