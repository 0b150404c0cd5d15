"""An application with classes of its own; for Python 2 and 3."""

import sys

if sys.version_info[0] == 2:
    from session2.Session import Session
else:
    from session3.Session import Session


class ShopSession(Session):
    def has_info(self):
        return True


class Cart(object):
    def __init__(self, goods):
        self.goods = goods
