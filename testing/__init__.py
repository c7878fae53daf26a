"""What tests, verification programs and benchmarks share."""
