"""What is wrong with a connection, in the words of the VisioDeployment."""

from __future__ import annotations


class Fault(Exception):  # noqa: N818 - it is about somebody else's server, not an error of this program
    """A connection does not work: the field of the spec, its problem and the next step. Holds no secret.

    `passing`: it may be over in a moment, so that a second try tells whether it is.
    """

    def __init__(self, field: str, problem: str, next_step: str, *, passing: bool = False) -> None:
        super().__init__(f"{field}: {problem}; {next_step}")
        self.field = field
        self.problem = problem
        self.next_step = next_step
        self.passing = passing


def unreachable(field: str, where: str, error: BaseException) -> Fault:
    """The fault of a server that cannot be reached, with the reason that the system gave."""
    text = " ".join(str(error).split()) or type(error).__name__
    lowered = text.lower()
    if any(mark in lowered for mark in ("name or service not known", "no address", "nodename", "name resolution")):
        return Fault(field, f"the name of {where} does not resolve", "correct the host name, or the cluster's DNS")
    if "certificate" in lowered:
        return Fault(
            field,
            f"{where} shows a certificate that is not trusted",
            "set spec.caBundle to the authority that signed it, or correct the host name",
        )
    if "refused" in lowered or "errno 111" in lowered or "error 111" in lowered:
        return Fault(field, f"{where} refuses connections", "correct host and port, or start the server")
    problem = f"{where} cannot be reached: {text[:160]}"
    return Fault(field, problem, "correct host and port, or open the firewall", passing=True)
