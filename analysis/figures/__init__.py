"""From tables to figures: the paper's and further ones, with captions."""
