"""Helpers that the Dagster definitions share."""
