"""Examples: a feed server, and a demonstration with two of them."""
