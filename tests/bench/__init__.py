"""Benches: `jobs` loads a real server through its API, `boot` times a machine's way on the rack, `floor` is what both
the disk and the HTTP library take at least, `figures` is how results are worked out and told.
"""
