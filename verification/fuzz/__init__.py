"""Random files, plain and packed, whole and damaged, compared with the oracles."""
