"""A data folder and bucket written by commit 4bf7b8b, and the results of continuing them with that commit.

Start with `continuation.py`: the steps and the observations, the same for the old code and the current one. The package
touches the product only through its command line, files, bucket, catalog and MQTT topics, so it also runs in a checkout
of 4bf7b8b, where `make_fixture.py` writes `data/`.
"""
