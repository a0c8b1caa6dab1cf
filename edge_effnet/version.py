"""The version of the toolkit, stated in this one place."""

VERSION = "0.1.0"
