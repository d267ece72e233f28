"""The laboratory: a real Kubernetes control plane on one machine, a cloud that sells nodes, and stand-ins for GPUs."""
