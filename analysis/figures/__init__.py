"""The figures of the paper and further ones, drawn from tables, with captions."""
