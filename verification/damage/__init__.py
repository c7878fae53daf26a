"""Catalogues in many styles, damaged in one place: only the rows touched may differ."""
