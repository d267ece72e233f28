"""What people see and may do: names, looks, languages, and who may open rooms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .fields import Email, HttpsUrl, Model, Text, pattern

STYLE_SHEET = pattern(
    r"^(https://[a-zA-Z0-9][-a-zA-Z0-9.]*(:[0-9]{1,5})?)?/[!-~]*$",
    "use a URL that starts with https://, or a path of the platform's own host such as /custom/style.css",
)


class Branding(Model):
    """Names and looks of the platform. The title in browser tabs is built into the front end's image."""

    name: Text = Field("Visio", description="Name of the product in mails.")
    language: Literal["en-us", "fr-fr", "nl-nl", "de-de"] = Field(
        "en-us", description="Language of mails and pages where the browser's own is not offered."
    )
    custom_css_url: Annotated[str, StringConstraints(pattern=STYLE_SHEET, max_length=1024)] | None = Field(
        None, description="Style sheet with the colours, fonts and logo of the administration: a URL, or a path."
    )
    mail_logo_url: HttpsUrl | None = Field(None, description="Picture at the head of mails; default is La Suite's.")
    french_government_footer: bool = Field(False, description="Show the footer of the French state's sites.")
    home_url: HttpsUrl | None = Field(None, description="Page that visitors see instead of the built-in home page.")
    documentation_url: HttpsUrl | None = Field(None, description="Help pages, linked in the menu of meetings.")
    feedback_url: HttpsUrl | None = Field(None, description="Form for opinions, linked in meetings.")
    support_email: Email | None = Field(None, description="Address for help in mails; default is the mail sender.")


class Rooms(Model):
    """Who may open rooms and come in."""

    allow_unregistered: bool = Field(True, description="Let people open rooms by a link that nobody has registered.")
    default_access: Literal["public", "trusted", "restricted"] = Field(
        "public", description="Who enters a new room at once: all, those signed in, or members; others wait."
    )
