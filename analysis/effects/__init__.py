"""Effects of factors: simple and main effects, interactions, variance shares, convergence, seeds needed."""
