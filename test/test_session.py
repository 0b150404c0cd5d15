"""`Session` and `DictSession` as applications see them."""

import io
import pickle
import time
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any, ClassVar
from uuid import UUID

import pytest

from session2 import ConfigurationError, DictSession, Session, SessionManager, merge
from session2.session import ties, user_key
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import FakeExchange


class Account:
    def __init__(self, number: int) -> None:
        self.number = number


class AccountSession(Session):
    """Keeps the number of the account, as documented."""

    theme = "light"

    def set_user(self, user: Any) -> None:
        self.user = user.number

    def get_user(self) -> Any:
        return None if self.user is None else Account(self.user)


def again(session: Session) -> Any:
    return type(session).restore(pickle.loads(pickle.dumps(session.get_state())))


def test_any_attribute_is_kept_and_no_bookkeeping_is() -> None:
    session = Session("id")
    session.user = "joe"
    session.colour = "red"  # type: ignore[attr-defined]
    assert session.get_state() == {"user": "joe", "colour": "red"}
    assert again(session).colour == "red"


def test_a_user_may_be_kept_by_number() -> None:
    session = AccountSession()
    assert session.get_user() is None
    session.set_user(Account(7))
    assert again(session).get_user().number == 7
    assert session.user_key() == "7"


def test_an_attribute_newer_than_the_session_has_its_default() -> None:
    assert AccountSession.restore({"user": 1}).theme == "light"


@pytest.mark.parametrize("session_class", [Session, DictSession])
def test_a_new_session_has_no_info_but_a_user_or_token_is_info(session_class: type[Session]) -> None:
    assert not session_class().has_info()
    for change in (lambda s: s.set_user(0), lambda s: s.create_form_token(), lambda s: s.get_csrf_token()):
        session = session_class()
        change(session)
        assert session.has_info()
        assert again(session).has_info()


def test_a_dict_session_is_a_mapping_and_true_when_empty() -> None:
    session = DictSession()
    assert isinstance(session, MutableMapping)
    assert session
    assert not session.has_info()
    session["a"] = 1
    assert session.has_info()
    session.update(b=2)
    assert session.setdefault("c", 3) == 3
    assert (dict(session), len(session), list(session)) == ({"a": 1, "b": 2, "c": 3}, 3, ["a", "b", "c"])
    assert session.pop("a") == 1
    assert "a" not in session
    with pytest.raises(KeyError):
        session["a"]


def test_items_and_attributes_are_separate() -> None:
    session = DictSession()
    session["user"] = "item"
    session.user = "attribute"
    restored = again(session)
    assert (restored["user"], restored.user) == ("item", "attribute")


def test_equal_contents_do_not_make_two_sessions_one() -> None:
    assert DictSession() != DictSession()
    assert len({DictSession(), DictSession()}) == 2


def test_form_tokens_queue_up_to_a_limit() -> None:
    session = Session()
    issued = [session.create_form_token() for _ in range(20)]
    assert [session.has_form_token(token) for token in issued] == [False] * 4 + [True] * 16
    session.remove_form_token(issued[-1])
    assert not session.has_form_token(issued[-1])
    with pytest.raises(ValueError, match="not in list"):
        session.remove_form_token(issued[-1])


def test_the_csrf_token_stays_and_without_a_request_nothing_is_valid() -> None:
    session = Session()
    assert session.get_csrf_token() == session.get_csrf_token() == again(session).get_csrf_token()
    assert not session.valid_csrf_token()


def test_ages_count_from_the_times() -> None:
    session = Session()
    ties(session).created, ties(session).accessed = 100.0, 150.0
    assert (session.get_creation_time(), session.get_access_time()) == (100.0, 150.0)
    assert (session.get_creation_age(160.0), session.get_access_age(160.0)) == (60.0, 10.0)


def test_no_text_of_a_session_shows_its_id() -> None:
    session = DictSession("secret-id")
    session["a"] = 1
    out = io.StringIO()
    session.dump(out)
    assert "secret-id" not in out.getvalue() + repr(session) + str(session)
    assert "data: {'a': 1}" in out.getvalue()


def test_the_pickle_of_an_old_session_is_understood() -> None:
    session = pickle.loads(pickle.dumps(Session("old")))
    assert session.id == "old"
    restored = Session.__new__(Session)
    restored.__setstate__({"id": "x", "user": "u", "_creation_time": 1.0, "_access_time": 2.0,
                           "_remote_address": "::1"})
    assert (restored.id, restored.user, restored.get_creation_time(), restored.get_access_time(),
            restored.get_remote_address()) == ("x", "u", 1.0, 2.0, "::1")


def test_users_are_indexed_by_text() -> None:
    assert user_key(None) is None
    assert user_key("joe") == "joe"
    assert user_key(7) == "7"
    assert user_key(UUID(int=7)) == str(UUID(int=7))
    assert user_key(("a", 1)) == user_key(("a", 1)) != user_key(("a", 2))
    assert str(user_key(("a", 1))).startswith("sha256:")


@pytest.mark.parametrize("name", ["key", "creation_time", "access_time", "expires", "origin", "exchange"])
@pytest.mark.parametrize("where", ["set by the application", "default of its class"])
def test_an_attribute_of_the_application_may_have_any_public_name(name: str, where: str) -> None:
    own = type("Own", (Session,), {name: None} if where.startswith("default") else {})
    now = [1.8e9]
    manager: SessionManager[Any] = SessionManager(VolatileSessionStore(clock=lambda: now[0]), own, renew_after=50)
    cookies: dict[str, str] = {}

    def visit(page: Callable[[Any], object]) -> None:
        request = FakeExchange(cookies)
        manager.start_request(request)
        page(request.session)
        manager.finish_successful_request(request)
        now[0] += 100

    visit(lambda session: session.get_csrf_token())
    visit(lambda session: setattr(session, name, "the application's"))
    visit(lambda session: session.set_user("joe"))
    visit(lambda session: session.valid_csrf_token())
    assert [getattr(session, name) for session in manager] == ["the application's"]
    assert manager.revoke_user("joe") == 1


@pytest.mark.parametrize("default", [[], {}, set(), bytearray(), ([],), deque()])
def test_a_default_that_all_visitors_would_share_is_refused(default: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Shop.cart .* one object for all visitors.*cart = None"):
        type("Shop", (Session,), {"cart": default})


def test_a_default_that_is_mixed_in_is_refused_too() -> None:
    class HasCart:
        cart: dict[str, int] = {}

    with pytest.raises(ConfigurationError, match=r"Shop.cart .* one object for all visitors"):
        type("Shop", (HasCart, DictSession), {})


def test_what_is_shared_on_purpose_is_said_so() -> None:
    class Shop(DictSession):
        merge_rules = {"visits": merge.add}
        KINDS: ClassVar[list[str]] = ["book", "record"]
        cart = None
        sizes = (1, 2)

    assert Shop().KINDS == ["book", "record"]


def test_who_is_nobody_has_not_logged_in() -> None:
    session = Session()
    assert (session.get_user(), session.get_login_time()) == (None, None)
    session.set_user("joe")
    assert (session.get_user(), session.get_login_time()) == ("joe", session.get_creation_time())


def test_what_was_posted_is_no_token_of_a_session_that_has_none() -> None:
    manager = SessionManager(VolatileSessionStore(), DictSession)
    request = FakeExchange(form={"csrf_token": "x"})
    manager.start_request(request)
    assert not request.session.valid_csrf_token()


def test_a_dump_shows_what_is_asked_for_and_no_id() -> None:
    session = DictSession("x" * 43)
    session.set_user("joe")
    session["basket"] = 1
    everything, little = io.StringIO(), io.StringIO()
    session.dump(everything)
    session.dump(little, header=False, deep=False)
    first, *rest = everything.getvalue().splitlines()
    assert first == "session new:"
    assert rest[:3] == little.getvalue().splitlines()
    assert "user 'joe'" in rest[0]
    assert rest[2].count(time.strftime("%Y-", time.localtime(session.get_creation_time()))) == 2
    assert [line.strip() for line in rest[3:]] == ["data: {'basket': 1}", "user: 'joe'"]
    assert "xxx" not in everything.getvalue()
