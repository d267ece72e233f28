"""Programs that speak the protocols of parts which cannot run here, each at its pod's own address."""
