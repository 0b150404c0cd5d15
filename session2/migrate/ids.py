"""What the ids of other systems look like: for their cookies, and for whoever looks one up."""

from __future__ import annotations

import re
from typing import Final

BEAKER: Final = re.compile("[A-Za-z0-9_-]{20,64}", re.ASCII)
"""A UUID or MD5 in hex, or SHA-1 in base64 as for URLs."""

DJANGO: Final = re.compile("[a-z0-9]{8,40}", re.ASCII)
"""32 letters and digits; Django itself asks for 8 at least, and its table has room for 40."""

FLASK_SESSION: Final = re.compile("[A-Za-z0-9_-]{16,128}", re.ASCII)
"""A UUID with hyphens, or, from 0.6 on, SESSION_ID_LENGTH random bytes in base64 as for URLs."""
