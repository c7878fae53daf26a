"""Ingest: from a landed delivery to committed rows, and back."""
