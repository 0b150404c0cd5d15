"""What the stores in SQL databases have in common."""
