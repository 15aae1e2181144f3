"""A campaign over the whole node: many faults at once, through public doors only, judged against a second recorder.

    python -m tests.campaigns.node --lives 10 --results lives.jsonl

Start with plan.py (what a seed means) and life.py (one life from start to finish). judging/ reads a finished life's
folder and imports nothing of the product.
"""
