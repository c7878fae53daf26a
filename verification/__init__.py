"""Programs that try the pipeline at random against an independent oracle: see README.md."""
