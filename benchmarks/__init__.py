"""Measurements that compare two things in one run; see docs/performance.md."""
