"""The Django application of the tests: the pages of the suite, users of any name, and settings."""

from __future__ import annotations

from typing import Any

from django.conf import settings

MIDDLEWARE = ["session2_django.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware"]

manager: Any = None
"""What SESSION2_MANAGER names."""


def configure(**own: Any) -> None:
    """Set Django up, once in a process."""
    import django

    settings.configure(**{
        "SECRET_KEY": "x" * 50,
        "ALLOWED_HOSTS": ["*"],
        "DATABASES": {},
        "USE_TZ": True,
        "ROOT_URLCONF": "django_shop.urls",
        "AUTH_USER_MODEL": "django_shop.User",
        "AUTHENTICATION_BACKENDS": ["django_shop.users.Anybody"],
        "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
                           "django_shop"],
        "MIDDLEWARE": MIDDLEWARE,
        "SESSION_ENGINE": "session2_django",
        **own,
    })
    django.setup()
