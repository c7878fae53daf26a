"""What several hosts need beside the warehouse: PostgreSQL, buckets, the broker, and marks."""
