"""Power of machines: one small driver interface, and the drivers by name in a table."""
