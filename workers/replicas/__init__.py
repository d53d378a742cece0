"""The replica axis of a pack: seeds, the latent units that each replica has, the precision of products, and the device."""
