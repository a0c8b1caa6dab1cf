"""Accelerators' toolchains, each in an environment of its own that the toolkit makes.

They pin packages that exclude each other and ours. `environment` installs one on first use, and
`worker` runs one of `scripts` in it. The scripts import nothing of ours.
"""
