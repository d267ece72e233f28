"""The version of this operator, as its package says it."""

from __future__ import annotations

from importlib.metadata import version

OPERATOR_VERSION = version("visio-operator")
