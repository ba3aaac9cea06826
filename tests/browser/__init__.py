"""The web UI in a real browser: a demo state of realistic machines, helpers for pages, tests and screenshots."""
