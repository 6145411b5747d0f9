"""The event monitor's headline workloads, beside the straightforward implementation."""
