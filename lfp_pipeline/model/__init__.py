"""The types that every level shares: deliveries, their keys and their ledger entries."""
