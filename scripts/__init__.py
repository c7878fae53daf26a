"""Programs that the Makefile runs before anything is installed."""
