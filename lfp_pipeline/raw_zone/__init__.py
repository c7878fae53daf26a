"""The raw zone: every delivery as it came, and what is wanted and known of it."""
