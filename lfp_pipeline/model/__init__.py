"""The domain types: deliveries, partition keys, ledger entries, the columns of products."""
