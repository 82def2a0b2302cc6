"""Settings of the whole suite."""

from hypothesis import settings

# How long an example takes says what else the machine does, and nothing of the code.
settings.register_profile("z2z", deadline=None)
settings.load_profile("z2z")
