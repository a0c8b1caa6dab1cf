#!/usr/bin/python3
"""Stands for rpicam-vid on a machine without a camera: sends /opt/scene.jpg again and again.

Takes only options that rpicam-vid has, and ends as it does when nobody listens at --output.
"""

import argparse
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

parser = argparse.ArgumentParser(allow_abbrev=False)
for name in ("--width", "--height"):
    parser.add_argument(name, type=int, required=True)
parser.add_argument("--timeout", choices=["0"], required=True)
parser.add_argument("--codec", choices=["mjpeg"], required=True)
parser.add_argument("--framerate", type=float, required=True)
parser.add_argument("--nopreview", action="store_true", required=True)
parser.add_argument("--output", required=True)
given = parser.parse_args()
address = urlsplit(given.output)
scene = Path("/opt/scene.jpg").read_bytes()
with socket.create_connection((address.hostname, address.port)) as connection:
    while True:
        connection.sendall(scene)
        time.sleep(1 / given.framerate)
