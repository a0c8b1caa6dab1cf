"""``edge-effnet camera``: live predictions from a camera, video, stream or folder.

Each thread has one job. Mailboxes with one slot pass on the newest frame or result:

    capture ──► infer (one or more workers) ──► show (window, page, recording; the main thread)
"""
