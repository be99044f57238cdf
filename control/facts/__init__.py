"""How what nodes report becomes the truth, each report exactly once."""
