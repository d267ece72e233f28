"""The words of announcements, in French and in English.

They are shown as plain text by Visio's chat and read as JSON by webhooks, yet they are escaped as HTML: what a user
wrote (the contact) must stay harmless wherever somebody pastes them.
"""

from __future__ import annotations

from functools import cache

from jinja2 import DictLoader, Environment, StrictUndefined

from .announce import Announcement

LANGUAGES = ("fr", "en")

_SOURCES = {
    "drain.fr": (
        "Maintenance : le serveur de cette réunion s'arrête au plus tard {{ time() }}. La réunion continue "
        "jusque-là ; ensuite chacun y revient automatiquement, après une coupure d'une dizaine de secondes."
    ),
    "drain.en": (
        "Maintenance: the server of this meeting stops {{ time() }} at the latest. The meeting goes on until then; "
        "after that everybody comes back by themselves, after an interruption of about ten seconds."
    ),
    "maintenance.fr": (
        "Maintenance : Visio passe à la version {{ one.about }} ; les serveurs de réunion sont remplacés {{ time() }}."
        "{% if one.interrupts %} Une réunion qui dure encore à la fin du délai est interrompue une dizaine de secondes."
        "{% else %} Les réunions en cours continuent.{% endif %}"
    ),
    "maintenance.en": (
        "Maintenance: Visio moves to version {{ one.about }}, and meeting servers are replaced {{ time() }}."
        "{% if one.interrupts %} A meeting that still goes on at the deadline is interrupted for about ten seconds."
        "{% else %} Meetings that are under way go on.{% endif %}"
    ),
}
_TIME = {
    "fr": (
        "{% macro time() %}{% if one.seconds_left < 90 %}dans une minute environ"
        "{% elif one.seconds_left < 5400 %}dans {{ (one.seconds_left / 60) | round | int }} minutes"
        "{% else %}dans {{ (one.seconds_left / 3600) | round | int }} heures{% endif %}{% endmacro %}"
    ),
    "en": (
        "{% macro time() %}{% if one.seconds_left < 90 %}in about a minute"
        "{% elif one.seconds_left < 5400 %}in {{ (one.seconds_left / 60) | round | int }} minutes"
        "{% else %}in {{ (one.seconds_left / 3600) | round | int }} hours{% endif %}{% endmacro %}"
    ),
}
_CONTACT = {
    "fr": "{% if one.contact %} Contact : {{ one.contact }}{% endif %}",
    "en": "{% if one.contact %} Contact: {{ one.contact }}{% endif %}",
}


def texts(one: Announcement) -> dict[str, str]:
    """The announcement in each language."""
    return {language: _templates().get_template(f"{one.kind}.{language}").render(one=one) for language in LANGUAGES}


@cache
def _templates() -> Environment:
    sources = {name: _TIME[name[-2:]] + source + _CONTACT[name[-2:]] for name, source in _SOURCES.items()}
    return Environment(loader=DictLoader(sources), undefined=StrictUndefined, autoescape=True)
