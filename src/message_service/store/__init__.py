"""MongoDB, the truth. Nothing outside this folder speaks to it."""
