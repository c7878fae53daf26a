"""Faults, injected for real: a clear error, untouched tables, and an ordinary way back."""
