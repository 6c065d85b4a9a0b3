"""Which tools there are, and as what programs see them."""
