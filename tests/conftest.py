"""Settings of the whole suite."""

import signal

from hypothesis import settings

# How long an example takes says what else the machine does, and nothing of the code. The same examples each time, so
# that a change is told from chance; `pytest --hypothesis-profile explore` looks at others.
settings.register_profile("z2z", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("z2z")

# Where the suite runs in the background of a shell, that has it and all it starts ignore Ctrl-C, which tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)
