"""Tests: a twin per module, and the larger ones in folders of their own."""
