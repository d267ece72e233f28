"""Builders, pure: from a spec and a plan to Kubernetes manifests as plain data, one file per part."""
