"""The raw zone: every delivery as it came, its desired state and its status."""
