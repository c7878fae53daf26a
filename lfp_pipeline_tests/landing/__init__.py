"""Landing: from a source to the raw zone."""
