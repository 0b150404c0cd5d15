"""What Django's own tests run with; its sdist's folder tests/ is on the path."""

SECRET_KEY = "x" * 50
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "sessions_tests"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = False
SESSION_ENGINE = "session2_django"
SESSION2_STORE = "volatile:"
