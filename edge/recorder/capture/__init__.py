"""Where samples come from: the sound card, sound files, or a synthetic scene.

May import `core`, `configuration` and `signal`. Start with `blocks`: the interface of every source.
"""
