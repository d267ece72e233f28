"""Environment variables as the programs that are played read them, and the end of a program that cannot read one.

Every problem ends the process with exit code 1 and one line that begins with the variable's name, so that an error in
the wiring shows in the pod's status and not as a strange answer hours later.
"""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

TRUE, FALSE = frozenset({"yes", "y", "true", "1"}), frozenset({"no", "n", "false", "0", ""})
"""What Django's settings take for a boolean, in any case (django-configurations); pydantic takes these as well."""


class Environment:
    """Typed reading of variables. Every method raises SystemExit (exit code 1) when the value is missing or wrong."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values

    def refuse(self, name: str, problem: str) -> NoReturn:
        """End the program because of this variable."""
        raise SystemExit(f"{name} {problem}")

    def optional(self, name: str, default: str = "") -> str:
        """The value, or the default where it is not set."""
        return self.values.get(name, default)

    def text(self, name: str) -> str:
        """A value that has to be there. What the kubelet left unexpanded counts as malformed."""
        value = self.values.get(name, "")
        if not value:
            self.refuse(name, "is required")
        if "$(" in value:
            self.refuse(name, "names a variable that is not defined before it")
        return value

    def secret(self, name: str) -> str:
        """A value that may also lie in the file named by NAME_FILE, which wins (django-lasuite's SecretFileValue)."""
        file = self.values.get(f"{name}_FILE", "")
        if not file:
            return self.text(name)
        try:
            return Path(file).read_text().rstrip("\n")
        except OSError as error:
            self.refuse(f"{name}_FILE", f"cannot be read: {error.strerror}")

    def url(self, name: str, schemes: Sequence[str] = ("http", "https")) -> str:
        """An absolute URL with one of the schemes."""
        value = self.text(name)
        try:
            parts = urlsplit(value)
            sound = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            sound = False
        if not sound:
            self.refuse(name, f"must be a URL that begins with {' or '.join(f'{each}://' for each in schemes)}")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean."""
        value = self.values.get(name)
        if value is None:
            return default
        lowered = value.strip().lower()
        if lowered not in TRUE | FALSE:
            self.refuse(name, "must be True or False")
        return lowered in TRUE

    def number(self, name: str, default: int | None = None) -> int:
        """A whole number that is not negative; required without a default."""
        value = self.values.get(name, "")
        if not value and default is not None:
            return default
        if not value.isdecimal():
            self.refuse(name, "must be a whole number" if value else "is required")
        return int(value)

    def words(self, name: str) -> list[str]:
        """A list separated by commas, as Django's settings read it."""
        return [each.strip() for each in self.values.get(name, "").split(",") if each.strip()]

    def literal(self, name: str) -> dict[str, Any]:
        """A dictionary as a Python literal; JSON's true and null are not Python's."""
        value = self.values.get(name, "")
        if not value:
            return {}
        try:
            found = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found = None
        if not isinstance(found, dict):
            self.refuse(name, "must be a dictionary in Python's notation")
        return found
