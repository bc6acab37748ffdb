"""Data of the quickstart, and the LM head of its PLM."""
