#!/usr/bin/env python3
"""Create the table, file or directory of a session store; ``setup-store.py --help`` tells how."""

import sys

from session2.cli import setup_store

setup_store(sys.argv[1:])
