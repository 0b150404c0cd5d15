"""A TurboGears application as one was written for Beaker: it knows nothing of session2."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # WebOb, below it, imports cgi
    from tg import MinimalApplicationConfigurator, TGController, abort, expose, redirect, request, session
    from tg.configurator.components.i18n import I18NConfigurationComponent
    from tg.configurator.components.session import SessionConfigurationComponent


class Shop(TGController):
    """Every page answers with plain text."""

    @expose(content_type="text/plain")
    def about(self) -> str:
        return "about"

    @expose(content_type="text/plain")
    def basket(self) -> str:
        return " ".join(session.get("basket", [])) or "nothing"

    @expose(content_type="text/plain")
    def buy(self, what: str) -> str:
        session["basket"] = [*session.get("basket", []), what]
        session.save()
        return self.basket()

    @expose(content_type="text/plain")
    def try_on(self, what: str) -> str:
        """Put something into the basket and do not save."""
        session["basket"] = [*session.get("basket", []), what]
        return self.basket()

    @expose(content_type="text/plain")
    def regret(self) -> str:
        session["basket"] = []
        session["sad"] = True
        session.revert()
        session.save()
        return self.basket()

    @expose(content_type="text/plain")
    def enter(self, user: str) -> str:
        session["user"] = user
        session.save()
        session.regenerate_id()
        return session["user"]

    @expose(content_type="text/plain")
    def leave(self) -> str:
        session.delete()
        return "bye"

    @expose(content_type="text/plain")
    def start_again(self) -> str:
        session.invalidate()
        session["user"] = "nobody"
        session.save()
        return "new"

    @expose(content_type="text/plain")
    def speak(self, language: str) -> str:
        session["tg_lang"] = language
        session.save()
        return language

    @expose(content_type="text/plain")
    def facts(self) -> str:
        return f"{session.is_new} {session.id == session.get_by_id(session.id).id} {session.has_key('user')} " \
               f"{session.accessed()} {session.dirty()} {'user' in session} {session.last_accessed >= session.created}"

    @expose(content_type="text/plain")
    def other(self, number: str) -> str:
        found = session.get_by_id(number)
        return "none" if found is None else " ".join(found["basket"])

    @expose(content_type="text/plain")
    def environ(self) -> str:
        same = request.environ["beaker.session"]["basket"] is session["basket"]
        return f"{same} {request.environ['beaker.get_session']().is_new}"

    @expose()
    def pay(self) -> None:
        session["paid"] = True
        session.save()
        redirect("/basket")

    @expose()
    def missing(self) -> None:
        session["basket"] = ["ghost"]
        session.save()
        abort(404)

    @expose()
    def crash(self) -> None:
        session["basket"] = ["crash"]
        session.save()
        raise RuntimeError("out of stock")


def shop(folder: Path, **config: Any) -> Any:
    """Return the application, in TurboGears' minimal mode; with ``i18n.enabled`` it asks for a language each time."""
    configurator = MinimalApplicationConfigurator()
    configurator.register(SessionConfigurationComponent)
    if "i18n.enabled" in config:
        configurator.register(I18NConfigurationComponent)
        package = ModuleType("shop")
        package.__file__ = str(folder / "shop.py")
        config["package"] = package
    configurator.update_blueprint({"root_controller": Shop(), **config})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return configurator.make_wsgi_app({}, {})
