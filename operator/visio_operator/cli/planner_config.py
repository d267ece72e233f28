"""The parts of a spec that tell the planner its limits: `capacity`, `captions`, `transcription` and `gpuPools`."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from visio_operator.api.check import check_model
from visio_operator.api.documents import YamlError, read_documents
from visio_operator.api.fields import Model, seconds
from visio_operator.api.parts import Capacity, Captions, GpuPool, Transcription
from visio_operator.api.spec import KIND
from visio_operator.plan.servers import Limits, Meeting


class PlannerConfig(Model):
    """What of a spec matters to the planner; the rest of a whole spec is ignored."""

    capacity: Capacity = Field(Capacity(), description="Target, calendar and budget.")
    captions: Captions = Field(Captions(), description="Slots and bounds of captions servers.")
    transcription: Transcription = Field(
        Transcription(), description="Start limit and bounds of transcription servers."
    )
    gpu_pools: list[GpuPool] = Field([], description="Prices and bounds of the nodes.")

    def limits(self, kind: str) -> Limits:
        """The limits of one kind; only bounds that the file states are bounds, since defaults were written for nobody.

        A server takes one node, so the bounds of its pool hold as well.
        """
        part = self.captions if kind == "captions" else self.transcription
        pool = next((pool for pool in self.gpu_pools if part.pool in (None, pool.name)), None)
        most = [each.max for each in (part, pool) if each is not None and "max" in each.model_fields_set]
        price = pool.price_per_hour if pool is not None else None
        return Limits(
            slots=self.captions.slots_per_gpu,
            minimum=max(part.min, pool.min if pool is not None else 0),
            maximum=min(most) if most else None,
            price_per_hour=float(price) if price is not None else None,
            budget_per_day=self.capacity.budget_per_day,
            start_within=seconds(self.transcription.start_within),
            blocked_target=float(self.capacity.blocked_target),
        )

    def calendar(self) -> tuple[Meeting, ...]:
        """The announced meetings in unix time."""
        return tuple(
            Meeting(
                datetime.fromisoformat(entry.start).timestamp(),
                datetime.fromisoformat(entry.end).timestamp(),
                entry.streams,
            )
            for entry in self.capacity.calendar
        )


class ConfigError(Exception):
    """A configuration cannot be used; the message names the field."""


def parse_config(text: str) -> PlannerConfig:
    """Read the parts, at the top of a document or under `spec`. Raises ConfigError."""
    try:
        documents = read_documents(text)
    except YamlError as error:
        raise ConfigError(str(error)) from None
    objects = [each.value for each in documents if isinstance(each.value, dict)]
    whole = [each["spec"] for each in objects if each.get("kind") == KIND and isinstance(each.get("spec"), dict)]
    parts = {"capacity", "captions", "transcription", "gpuPools"}
    if len(whole) == 1:
        given = {key: each for key, each in whole[0].items() if key in parts}
    elif len(objects) == 1 and len(documents) == 1 and not whole:
        given = objects[0]
        if unknown := sorted(map(str, given.keys() - parts)):
            raise ConfigError(f"{unknown[0]} is no part that the planner reads; use {', '.join(sorted(parts))}")
    else:
        raise ConfigError(f"give one document with {', '.join(sorted(parts))}, or one {KIND}")
    if problems := check_model(PlannerConfig, given):
        raise ConfigError(str(problems[0]))
    return PlannerConfig.model_validate(given)
