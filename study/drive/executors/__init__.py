"""The ways to run packs: Ray Tune, or this process."""
