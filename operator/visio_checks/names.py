"""The checks of a call by name, in their order; apart, so that reading the names loads no media library."""

NAMES = (
    "web", "api", "sign-in", "join", "media", "data", "webhook", "captions", "recording", "transcription", "mail",
    "docs", "llm",
)  # fmt: skip
