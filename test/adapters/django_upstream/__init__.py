"""Django's own tests of its sessions, for the engine and for both middlewares; see test_django_upstream.py."""
