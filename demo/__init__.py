"""The demonstration application: the same pages, session class and cookie on every framework and every store."""
