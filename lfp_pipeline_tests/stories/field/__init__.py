"""Findings from the field, a test each: files as people and programs write them, end to end."""
