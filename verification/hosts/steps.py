"""The steps of a merge into a lake, beside those that it shares with a database file."""

from verification.crash.steps import Steps


class LakeSteps(Steps):
    """Counts the steps of this process on a lake."""
