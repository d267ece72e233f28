"""How a new release is rolled out: when, how far at a time, and what is saved before."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .drains import Announce
from .fields import Duration, Model, ObjectName, Rule, Unique, pattern, seconds

TIME_OF_DAY = pattern(r"^([01][0-9]|2[0-3]):[0-5][0-9]$", "use hours and minutes in quotes, such as '22:30'")
TIME_ZONE = pattern(r"^[A-Za-z]+(/[A-Za-z0-9_+-]+){0,2}$", "use an IANA name such as Europe/Paris")


class Window(Model):
    """A time in which upgrades may start."""

    rules = (
        Rule(
            "duration(self.duration) >= duration('15m') && duration(self.duration) <= duration('24h')",
            "duration is outside 15m to 24h",
            "write a window of that length, or several windows",
            lambda self: 900 <= seconds(self.duration) <= 86_400,
            "duration",
        ),
    )

    days: Annotated[
        list[Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]],
        Field(min_length=1, max_length=7),
        Unique(),
    ] = Field(description="Days of the week.")
    start: Annotated[str, StringConstraints(pattern=TIME_OF_DAY, max_length=5)] = Field(description="Time of day.")
    duration: Duration = Field(description="Length of the window.")
    time_zone: Annotated[str, StringConstraints(pattern=TIME_ZONE, max_length=64)] = Field(
        "Europe/Paris", description="IANA time zone of the window."
    )


class Quiet(Model):
    """How calm it has to be before a rung starts."""

    rules = (
        Rule(
            "duration(self.__for__) <= duration('24h')",
            "for is longer than 24h, and no day of work is that calm",
            "ask for an hour or less, and use windows for the time of day",
            lambda self: seconds(self.length) <= 86_400,
            "for",
        ),
    )

    participants: Annotated[int, Field(ge=0, le=100_000)] = Field(
        0, description="At most so many people may be in calls. While that cannot be read, it is not calm."
    )
    length: Duration = Field("10m", alias="for", description="For how long it has to have been so.")


class CloudNativePgBackup(Model):
    """A backup of a cluster that CloudNativePG runs."""

    cluster: ObjectName = Field(description="Name of the Cluster, in the namespace of this object.")


class NoBackup(Model):
    """Nothing is saved."""


class Backup(Model):
    """How the database is saved before a rung that changes it."""

    rules = (
        Rule(
            "[has(self.cloudNativePG), has(self.cronJob), has(self.none)].filter(x, x).size() == 1",
            "exactly one way is needed",
            "give cloudNativePG, cronJob or none",
            lambda self: sum(way is not None for way in (self.cloud_native_pg, self.cron_job, self.none)) == 1,
        ),
        Rule(
            "!has(self.restoreCronJob) || has(self.cronJob)",
            "restoreCronJob goes with cronJob only",
            "leave it out: CloudNativePG recovers its own backups, and without a backup there is nothing to restore",
            lambda self: self.restore_cron_job is None or self.cron_job is not None,
            "restoreCronJob",
        ),
    )

    cloud_native_pg: CloudNativePgBackup | None = Field(
        None, alias="cloudNativePG", description="A Backup object of CloudNativePG."
    )
    cron_job: ObjectName | None = Field(
        None, description="A CronJob of yours, in the namespace of this object, of which one run is started."
    )
    restore_cron_job: ObjectName | None = Field(
        None,
        description="A CronJob of yours, suspended, of which one run restores that backup after a failed rung: only"
        " when somebody has approved it, and while nothing writes to the database.",
    )
    none: NoBackup | None = Field(
        None, description="Nothing is saved by the operator: you do it, or can lose the data."
    )


class Upgrade(Model):
    """How a new version is rolled out."""

    rules = (
        Rule(
            "duration(self.canaryFor) >= duration('30s') && duration(self.canaryFor) <= duration('24h')",
            "canaryFor is outside 30s to 24h",
            "write a time in which people join, such as 10m, or set canary to false",
            lambda self: 30 <= seconds(self.canary_for) <= 86_400,
            "canaryFor",
        ),
    )

    mode: Literal["Auto", "Approve"] = Field("Auto", description="Upgrade by itself, or wait for approval.")
    paused: bool = Field(False, description="Start no further rung; one that has started goes on to its end.")
    windows: Annotated[list[Window], Field(max_length=20)] = Field(default=[], description="Empty means at any time.")
    ring: Literal["pilot", "early", "broad"] = Field("broad", description="Later rings wait for earlier ones.")
    soak: Duration = Field("30m", description="Quiet time after a rung before the next one.")
    canary: bool = Field(True, description="Try one new media server before the others.")
    canary_for: Duration = Field(
        "10m", description="How long that server is watched at most; with many joins a fifth of it is enough."
    )
    backup: Backup | None = Field(
        None,
        description="How the database is saved before a rung that changes its schema. Without it such a rung does not"
        " start, unless the database is embedded.",
    )
    on_failure: Literal["Rollback", "Hold"] = Field("Rollback", description="What follows a failed rung.")
    adopt_rendering: Literal["Window", "Now"] = Field(
        "Window",
        description="When pods are replaced that a new version of the operator renders differently: in the next of"
        " `windows`, or on approval; or as soon as it runs. Without windows they wait for approval.",
    )
    quiet: Quiet | None = Field(None, description="Calm to wait for before a rung starts; without it none is.")
    announce: Announce | None = Field(None, description="Who is told before media servers are replaced; unset: nobody.")
