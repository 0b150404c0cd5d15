"""The systems that visitors can be moved from, a module each."""
