"""Files as people and programs write them, end to end: one test for each finding."""
