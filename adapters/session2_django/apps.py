"""The application ``"session2_django"`` of ``INSTALLED_APPS``: with it, the admin lists and ends sessions."""

from django.apps import AppConfig, apps


class SessionsConfig(AppConfig):  # type: ignore[misc]
    """Adds the page of sessions to Django's admin, where that is installed."""

    name = "session2_django"
    verbose_name = "Sessions"

    def ready(self) -> None:
        """Add the page to the default site of the admin."""
        if apps.is_installed("django.contrib.admin"):
            from django.contrib.admin import site

            from .admin import SessionsPage

            SessionsPage(site).add()
