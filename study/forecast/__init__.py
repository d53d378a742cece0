"""What a study will cost: work counted from its packs, rates of a device, and the words of a forecast."""
