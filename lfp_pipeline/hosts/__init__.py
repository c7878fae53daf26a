"""What several hosts share: the connection to the catalog's database."""
