"""Users that nothing is stored of."""

from django.contrib.auth.models import AbstractBaseUser
from django.db import models


class User(AbstractBaseUser):
    """Anybody: the name is all there is."""

    name = models.CharField(max_length=40, primary_key=True)
    last_login = None

    USERNAME_FIELD = "name"
