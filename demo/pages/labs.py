"""The race lab: requests that overlap, and what became of what each wrote.

In the browser the script fires the requests of the first experiment; without it, and for the other two, in which the
visitor's own session would end, the server does, as a client of its own over HTTP (`experiments`).
"""

from __future__ import annotations

import copy
import time
from typing import Any, Final

from session2 import SessionConflict
from session2.patience import attempts
from session2.store.records import can_merge

from . import experiments, runs
from .asked import Answer, Asked, as_json, number_in, redirect
from .browser import named
from .html import Markup, joined, markup
from .layout import form, hidden, page, token_of
from .meetings import meet
from .runs import Run
from .session import DemoSession, Manager
from .site import Site

MODES: Final = {
    "merge": ("Merge", "What each request changed is put onto what the others stored: nothing is lost, nobody waits."),
    "lock": ("Lock", "The requests take turns: nothing is lost, everybody waits."),
    "blind": ("Blind", "The whole session is written back as it was read, as most libraries do: the last one wins, and "
                       "what was stored meanwhile is lost."),
}

HOLD: Final = 0.03
"""Seconds between reading and writing, in which a real page would do its work."""

LONGEST: Final = 3.0
"""Seconds for which a blind write is tried."""

ACROSS: Final = ("/lab/add", "/lab/state")
"""What the page of one framework asks of another one."""

# -- the page ----------------------------------------------------------------------------------------------------------

_PAGE: Final = """<h1>Race lab</h1>
<p class="lead">A browser sends requests side by side, and all of them bear the same session. Here they do so at
{where}, and you see what is left.</p>
<section class="card lab" aria-labelledby="race" id="lab-race" data-ports="{ports}" data-count="{count}">
<h2 id="race">{count} requests at once</h2>
<p>Each sets a key of its own and adds one to a counter. Three times: merged, under a lock, and written blindly.</p>
<div class="buttons">{race}</div>
<div class="modes">{modes}</div>
<p class="said" role="status" aria-live="polite"></p>
</section>
<section class="card lab" aria-labelledby="logout"><h2 id="logout">A slow request against a logout</h2>
<p>{one} works on a request for a while. Meanwhile the visitor logs out on {other}. Then the slow request ends, and
wants to store what it changed.</p>
<div class="buttons">{logout}</div>
<ol class="steps" role="log" aria-label="What happened in the slow request against a logout"></ol>
</section>
<section class="card lab" aria-labelledby="logins"><h2 id="logins">Two logins at once</h2>
<p>Two tabs of one browser log in at the same moment: Anne on {one}, Bert on {other}.</p>
<div class="buttons">{logins}</div>
<ol class="steps" role="log" aria-label="What happened with two logins at once"></ol>
</section>"""

_MODE: Final = """<div class="mode" data-mode="{mode}"><h3>{name}</h3>
<p class="hint">{what}</p>
<div class="cells" role="img" aria-label="{label}">{cells}</div>
<p class="result">{result}</p></div>"""


_CANNOT: Final = """<h1>Race lab</h1>
<p class="lead">In the {store} store the session travels with each answer, so requests that overlap do not meet: the
last answer wins. Start the demo with another store to see them meet.</p>"""


def show(site: Site, asked: Asked) -> Answer:
    """Show the three experiments, of which none has begun."""
    if not can_merge(type(site.manager.store)):
        return page(site, asked, "Race lab", markup(_CANNOT, store=site.store), token=token_of(asked))
    one, other = _two(site)
    runner = {name: form(asked, "/lab/run", "Run it", hidden("lab", name), f"run run-{name}", label)
              for name, label in (("race", "Run the race"), ("logout", "Run the slow request against a logout"),
                                  ("logins", "Run two logins at once"))}
    content = markup(_PAGE, where=_and(list(site.names.values())), one=one, other=other, count=experiments.COUNT,
                     ports=" ".join(map(str, site.ports.values())),
                     modes=joined(_mode(mode, {}) for mode in MODES), **runner)
    return page(site, asked, "Race lab", content, token=token_of(asked))


def _two(site: Site) -> tuple[str, str]:
    names = list(site.names.values())
    return names[0], names[min(1, len(names) - 1)]


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _mode(mode: str, result: dict[str, Any]) -> Markup:
    """Show what became of the requests in one mode; `result` is empty before they were sent."""
    name, what = MODES[mode]
    kept = result.get("keys")
    cells = (Markup("<i></i>") if kept is None else Markup('<i class="kept"></i>') if str(number) in kept
             else Markup('<i class="lost"></i>') for number in range(experiments.COUNT))
    said = "" if kept is None else experiments.verdict(result)
    return markup(_MODE, mode=mode, name=name, what=what, cells=joined(cells), result=said,
                  label=f"{name}: {said or 'not run yet'}")


# -- what the requests of an experiment do -----------------------------------------------------------------------------


def begin(site: Site, asked: Asked) -> Answer:
    """Begin a race in the visitor's session, with nothing counted; and a session, if there is none."""
    asked.session["keep"] = True
    asked.session["lab"] = {"counter": 0, "keys": {}}
    return as_json({"csrf": asked.session.get_csrf_token()})


def add(site: Site, asked: Asked) -> Answer:
    """Set a key and add to the counter; in between a while passes, as in a page that works."""
    session, mode, number = asked.session, asked.form.get("mode"), number_in(asked.form.get("n", ""))
    if mode not in MODES or number is None or number >= experiments.COUNT or "lab" not in session:
        return as_json({"error": "there is no such race"}, 400)
    if mode == "blind":
        _write_blindly(site.manager, session, number)
        return as_json({"n": number, "by": asked.framework})
    if mode == "lock":
        site.manager.lock_request(asked.exchange)
    _add_to(session["lab"], number)
    time.sleep(HOLD)
    return as_json({"n": number, "by": asked.framework})


def _add_to(lab: dict[str, Any], number: int) -> None:
    lab["counter"] += 1
    lab["keys"][str(number)] = True


def _write_blindly(manager: Manager, session: DemoSession, number: int) -> None:
    """Do what this library never does: write a session as it was read, over whatever is stored by now."""
    mine = copy.deepcopy(session.get_state())
    _add_to(mine["data"]["lab"], number)
    time.sleep(HOLD)
    for _ in attempts(LONGEST):
        stored = manager.load(session.id)
        if stored is None:
            return
        stored.set_state(mine)
        try:
            manager.save(stored, "strict")
        except SessionConflict:
            continue
        return


def slow(site: Site, asked: Asked) -> Answer:
    """Change the session at once and answer when it is told to: from its beginning to that it is under way."""
    asked.session["late"] = "what the slow request wrote"
    for _ in ("begun", "told to end"):
        meet(asked.session.get_csrf_token())
    return as_json({"by": asked.framework})


def login(site: Site, asked: Asked) -> Answer:
    """Log in; with another one at the same moment, if there is to be one."""
    before = asked.session.get_csrf_token()
    asked.session.set_user(asked.form.get("user", "")[:20] or "somebody")
    asked.session.device = named(asked.header("User-Agent"))
    if "meet" in asked.form:
        meet(before)
    return as_json({"by": asked.framework, "csrf": asked.session.get_csrf_token()})


def logout(site: Site, asked: Asked) -> Answer:
    site.manager.expire_session(asked.exchange)
    return as_json({"by": asked.framework})


def state(site: Site, asked: Asked) -> Answer:
    """Tell what is in the session, or why there is none."""
    session, absence = asked.session, asked.exchange.visit.absence
    lab = session.get("lab", {})
    found = {"live": session.origin is not None, "absence": absence and absence.value, "user": session.user,
             "late": "late" in session, "counter": lab.get("counter", 0), "keys": sorted(lab.get("keys", ()))}
    return as_json(found)._replace(headers=(("Cache-Control", "no-store"),))


# -- running -----------------------------------------------------------------------------------------------------------


def start(site: Site, asked: Asked) -> Answer:
    """Start an experiment, and lead to what happens."""
    experiment = experiments.ALL.get(asked.form.get("lab", ""))
    run = None if experiment is None else runs.start(experiment, site)
    if run is None:
        return redirect("/labs")
    if asked.form.get("for") == "script":
        return as_json({"id": run.id})
    return redirect(f"/lab/run?id={run.id}")


def run_json(site: Site, asked: Asked) -> Answer:
    """Tell how far a run is."""
    run = runs.find(asked.query.get("id", ""))
    if run is None:
        return as_json({"error": "there is no such run"}, 404)
    return as_json(run.told())._replace(headers=(("Cache-Control", "no-store"),))


_RUN: Final = """<h1>{title}</h1>
{shown}<p class="verdict">{verdict}</p>
<p><a class="button" href="/labs">Back to the race lab</a></p>"""


def show_run(site: Site, asked: Asked) -> Answer:
    """Show a whole run, when it is over: for those without scripts."""
    run = runs.find(asked.query.get("id", ""))
    if run is None:
        return redirect("/labs")
    run.over.wait(experiments.LONGEST)
    content = markup(_RUN, title=run.title, shown=_shown(run), verdict=run.verdict)
    return page(site, asked, run.title, content, token=token_of(asked))


def _shown(run: Run) -> Markup:
    if run.results:
        return markup('<div class="modes">{modes}</div>',
                      modes=joined(_mode(mode, result) for mode, result in run.results.items()))
    return markup('<ol class="steps">{steps}</ol>', steps=joined(
        markup('<li class="{kind}"><span class="at">{at}</span> <b>{where}</b> {text}</li>', **step)
        for step in run.steps))


ACTIONS: Final = {"/lab/begin": begin, "/lab/add": add, "/lab/slow": slow, "/lab/login": login, "/lab/logout": logout,
                  "/lab/run": start}
