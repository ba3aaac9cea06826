"""Stand-ins with behaviour of their own, shared by tests: made through constructors, never patched in."""
