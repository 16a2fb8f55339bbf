"""Tables that compare systems."""
