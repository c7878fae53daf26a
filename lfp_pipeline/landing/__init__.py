"""From a source to the raw zone: exact bytes, once, for good."""
