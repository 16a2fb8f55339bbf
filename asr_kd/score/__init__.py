"""Word error rates: strict joining, counts, intervals."""
