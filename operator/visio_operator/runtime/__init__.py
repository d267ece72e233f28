"""The only room with IO: watches, reads, writes and reports; decisions are made in `plan`, manifests in `workloads`."""
