"""Examples: a feed to take products from, and the whole story with two of them."""
