"""``edge-effnet camera``: a camera, video, stream or folder -> live predictions.

Threads with one job each, the newest frame or result handed on through one-place mailboxes:

    capture ──► infer (one or more workers) ──► show (window, page, recording; the main thread)
"""
