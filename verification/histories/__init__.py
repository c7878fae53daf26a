"""Random histories of everything that can be done, against plain dicts."""
