# What the baselines say of options that they do not serve.


class Refused(ValueError):
    """This program does not do what the options of one run ask for."""
