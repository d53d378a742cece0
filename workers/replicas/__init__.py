"""What runs along the replica axis of a pack: seeds, units that exist, precision of products, the device."""
