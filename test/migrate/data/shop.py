"""An application with classes of its own; for Python 2 and 3."""

try:
    from session2.Session import Session
except ImportError:  # under session3
    from session3.Session import Session


class ShopSession(Session):
    def has_info(self):
        return True


class Cart(object):
    def __init__(self, goods):
        self.goods = goods
