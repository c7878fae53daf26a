"""The Dagster definitions, and nothing else."""
