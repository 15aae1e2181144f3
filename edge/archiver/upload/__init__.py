"""From committed plan to verified object in the store.

May import `core`, `catalog`, `store`, `plan`, and of its parent `jobs`, `pacing`, `planner` and `reporter`.
Start with `upload`: one archive, part by part; `uploads` decides which is next and records the result.
"""
