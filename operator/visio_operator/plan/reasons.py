"""The closed vocabulary of conditions: their types and their reasons."""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """The conditions of a VisioDeployment; every plan states each of them once."""

    READY = "Ready"
    PROGRESSING = "Progressing"
    DEGRADED = "Degraded"
    CAPACITY_LIMITED = "CapacityLimited"
    SCALING_FROZEN = "ScalingFrozen"
    APPROVAL_PENDING = "ApprovalPending"
    POLICY_COMPLIANT = "PolicyCompliant"
    UPGRADE_HELD = "UpgradeHeld"
    EMERGENCY_STOP = "EmergencyStop"


RENDERING_PENDING = "RenderingPending"
"""A condition that no plan states, since it is about what is rendered from a plan."""


class Reason(StrEnum):
    """Why a condition has its status. Alerts and tests match these words, so none is ever renamed."""

    # Ready, Progressing, Degraded
    ALL_PARTS_READY = "AllPartsReady"
    PARTS_NOT_READY = "PartsNotReady"
    WAITING_FOR_NODES = "WaitingForNodes"
    CREATING = "Creating"
    ROLLING_OUT = "RollingOut"
    UPGRADING = "Upgrading"
    SETTLED = "Settled"
    HEALTHY = "Healthy"
    PART_FAILED = "PartFailed"
    CONNECTION_FAILED = "ConnectionFailed"
    CHECKING_CONNECTIONS = "CheckingConnections"
    # Refusals
    UNKNOWN_VERSION = "UnknownVersion"
    VERSION_STEP = "VersionStepNotAllowed"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - a word of the vocabulary, no password
    POOL_MISSING = "PoolMissing"
    IMAGE_OUTSIDE_REGISTRIES = "ImageOutsideRegistries"
    DIGEST_MISSING = "DigestMissing"
    NOT_IN_RELEASE = "NotInRelease"
    ZONE_OUTSIDE_REGIONS = "ZoneOutsideRegions"
    CONFIG_MAP_MISSING = "ConfigMapMissing"
    ROUTE_NOT_POSSIBLE = "RouteNotPossible"
    # Capacity
    ENOUGH = "Enough"
    MAXIMUM_REACHED = "MaximumReached"
    BUDGET_SPENT = "BudgetSpent"
    QUOTA_EXCEEDED = "QuotaExceeded"
    OUT_OF_STOCK = "OutOfStock"
    PROVIDER_ERROR = "ProviderError"
    NODES_STUCK = "NodesStuck"
    TWO_WRITERS = "TwoWriters"
    POOL_OF_ANOTHER = "PoolOfAnotherDeployment"
    ADDRESS_MISSING = "AddressMissing"
    PORT_TAKEN = "PortTaken"
    APPROVAL_NEEDED = "ApprovalNeeded"
    FORECAST_ONLY = "ForecastOnly"
    NOTHING_PROPOSED = "NothingProposed"
    SIGNALS_FRESH = "SignalsFresh"
    SIGNAL_MISSING = "SignalMissing"
    # Versions of the operator
    RENDERING_CURRENT = "RenderingCurrent"
    # Policy and upgrades
    COMPLIANT = "Compliant"
    NOT_HELD = "NotHeld"
    CHECK_FAILED = "CheckFailed"
    BACKUP_NOT_STATED = "BackupNotStated"
    BACKUP_FAILED = "BackupFailed"
    PRECONDITION_NOT_MET = "PreconditionNotMet"
    MIGRATION_FAILED = "MigrationFailed"
    CANARY_FAILED = "CanaryFailed"
    UPGRADE_FAILED = "UpgradeFailed"
    ROLLED_BACK = "RolledBack"
    RESTORE_FAILED = "RestoreFailed"
    RESTORE_READY = "RestoreReady"
    OUTSIDE_WINDOW = "OutsideWindow"
    TIME_ZONE_UNKNOWN = "TimeZoneUnknown"
    # What keeps a rung from starting
    EMERGENCY_STOP = "EmergencyStop"
    NOT_STOPPED = "NotStopped"
    PAUSED = "Paused"
    WAITING_FOR_RING = "WaitingForRing"
    RING_STALLED = "RingStalled"
    SOAKING = "Soaking"
    WINDOW_TOO_SHORT = "WindowTooShort"
    CALLS_RUNNING = "CallsRunning"
