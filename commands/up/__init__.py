"""`imhearing up`: the whole node in one terminal."""
