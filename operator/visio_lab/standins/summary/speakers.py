"""Names for the voices of a transcript, from who spoke when in the room.

A simple form of the real assignment: each voice gets the name of the participant who spoke most while it was heard.
"""

from collections import Counter, defaultdict
from datetime import datetime
from typing import Any

import requests

from visio_lab.standins.summary.jobs import Json, SpeakerMetadata

TIMEOUTS_S = (10, 100)
Spans = dict[str, list[tuple[float, float]]]


def with_names(transcript: Json, metadata: SpeakerMetadata) -> Json:
    """The transcript with names; unchanged when the metadata cannot be read, as the collector may have been killed."""
    try:
        response = requests.get(str(metadata.cloud_storage_url), timeout=TIMEOUTS_S)
        response.raise_for_status()
        known = response.json()
        spans = _spans(known["events"], metadata.started_at, metadata.ended_at)
        names = {each["participantId"]: each["name"] for each in known["participants"]}
    except (requests.RequestException, KeyError, TypeError, ValueError) as error:
        print(f"Error reading metadata; skipping speaker assignment: {type(error).__name__}", flush=True)
        return transcript
    voices = _assign(transcript["segments"], spans)
    return {
        key: [{**each, "speaker": names.get(voices.get(each.get("speaker"), ""), each.get("speaker"))} for each in part]
        for key, part in transcript.items()
    }


def _spans(events: list[dict[str, Any]], began: datetime, ended: datetime) -> Spans:
    """Seconds since the recording's beginning during which each participant spoke."""
    spans, speaking = defaultdict(list), {}
    for event in events:
        seconds, who = (datetime.fromisoformat(event["timestamp"]) - began).total_seconds(), event["participant_id"]
        if event["type"] == "speech_start":
            speaking[who] = seconds
        elif event["type"] == "speech_end" and who in speaking:
            spans[who].append((speaking.pop(who), seconds))
    for who, seconds in speaking.items():
        spans[who].append((seconds, (ended - began).total_seconds()))
    return spans


def _assign(segments: list[dict[str, Any]], spans: Spans) -> dict[Any, str]:
    shared: dict[Any, Counter[str]] = defaultdict(Counter)
    for segment in segments:
        for who, times in spans.items():
            overlap = sum(max(0.0, min(segment["end"], end) - max(segment["start"], start)) for start, end in times)
            if overlap:
                shared[segment.get("speaker")][who] += overlap
    return {voice: counts.most_common(1)[0][0] for voice, counts in shared.items()}
