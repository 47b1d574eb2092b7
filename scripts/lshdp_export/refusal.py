# What an export is refused with: one line that names the module and the remedy.
"""What an export is refused with."""


class Refused(ValueError):
    """The model cannot be trained exactly as it stands; the text says which module and what to do."""
