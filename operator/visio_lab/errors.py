"""The one error that the laboratory shows to its user."""


class LabError(Exception):
    """A problem that the user can act on: its text is one line with the problem and the next step.

    `exit_code` follows the command contract: 1 something failed, 2 the machine or the input lacks something.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
