"""The actor kernel against what people would write by hand, and against other actor libraries.

One module a contestant, one function a workload. Each measurement runs in a process of its own.
"""
