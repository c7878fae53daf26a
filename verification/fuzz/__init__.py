"""Random files, plain and packed, whole and damaged, against the oracle: `make fuzz MINUTES=30`."""
