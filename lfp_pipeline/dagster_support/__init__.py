"""What the Dagster definitions share."""
