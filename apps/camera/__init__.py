"""``edge-effnet camera``: a camera, video, stream or folder -> live predictions.

Three threads and the main one, each with one job and a one-frame mailbox to the next:

    capture ──► prepare ──► infer ──► show (window, page, recording; the main thread)
"""
