"""Fuzzer: mutants of every file format that the project reads, and what reading each costs.

`make fuzz` runs it; CONTRIBUTING.md explains it. A mutant may open, or be refused by an error of
`edge_effnet.errors`. It must not end the calling process, raise another exception, take more than
20 s or more than 1 GB.
"""
