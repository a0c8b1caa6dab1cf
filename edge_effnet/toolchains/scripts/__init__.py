"""Programs that run in the toolchains' environments; they import nothing of ours."""
