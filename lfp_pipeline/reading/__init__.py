"""From a raw file to rows and rejects, in a workspace of its own."""
