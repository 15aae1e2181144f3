"""What holds for every test."""

from hypothesis import settings

# machines are shared and noisy: how long an example takes says nothing
settings.register_profile("imhearing", deadline=None, print_blob=True)
settings.load_profile("imhearing")
