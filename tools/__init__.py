"""Laboratory and benchmarks of the suite; nothing imports this package but the tests."""
