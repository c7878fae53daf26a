"""Reading: from a raw file to staged rows and rejects, in a workspace of its own."""
