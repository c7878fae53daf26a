"""A catalogue in many styles, damaged in one place at a time: only the rows touched may differ."""
