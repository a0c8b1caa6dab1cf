"""``edge-effnet camera``: live predictions from a camera, video, stream or folder.

Each thread has one task. One-slot mailboxes pass the newest frame or result to the next thread:

    capture ──► infer (one or more workers) ──► show (window, page, recording; the main thread)
"""
