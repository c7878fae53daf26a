"""What operators have done: taken back, purged, pruned, rebuilt, exported, verified."""
