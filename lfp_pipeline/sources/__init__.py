"""Where files come from, and how their bytes are fetched."""
