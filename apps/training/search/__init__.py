"""Architecture search: the network with the best accuracy for a latency on a device.

`space` has the candidates, `reward` ranks them, `evolution` proposes them, `search` runs the loop.
"""
